"""The data directory of one embedded stack, locked by the process that uses it.

    credentials.json   what a client needs: base_url, project_id, api_key, operator_key (mode 0600)
    secrets.json       what the parts need among themselves: passwords and keys, made once (mode 0600)
    lock               held by the `slipway up` that runs here; says its pid
    postgres/          the cluster: every service's state, each in its own schema
    nats/              JetStream's files: events on their way
    s3/store/          the objects: parts on their way, files of models; in blocks, found by metadata/ beside them
    logs/NAME.log      what each process said; beyond 32 MiB it becomes NAME.log.1
    run/               of the present run: pid files, configuration files, and services.env, with which one more
                       service can be run by hand: `set -a; . run/services.env; python -m services.validator`

Every directory in it is closed to others (mode 0700). Back it up while nothing runs in it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from deploy.local import pidfiles
from deploy.local.errors import DataDirectoryTaken, DataDirectoryUnusable
from libs.sealing import new_key


class Secrets(msgspec.Struct, frozen=True):
    """Passwords and keys of the stack; created at the first start, the same at every later one."""

    postgres_password: str
    nats_token: str
    s3_access_key: str
    s3_secret_key: str
    operator_key: str
    secrets_key: str = ""  # empty: of an earlier release, which had none

    @classmethod
    def new(cls) -> Secrets:
        """Each from 128 bits of randomness or more; hexadecimal, so that they need no quoting in URLs."""
        return cls(
            postgres_password=secrets.token_hex(16),
            nats_token=secrets.token_hex(16),
            s3_access_key=secrets.token_hex(8),  # a name, not a secret
            s3_secret_key=secrets.token_hex(20),
            operator_key=f"xero_operator_{secrets.token_hex(20)}",
            secrets_key=new_key(),
        )


class Credentials(msgspec.Struct, frozen=True):
    """What a client needs, as in credentials.json."""

    base_url: str  # http://127.0.0.1:PORT/proj_…/v1
    project_id: str
    api_key: str
    operator_key: str


class DataDirectory:
    """A data directory, locked by this process until it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = path / "run"
        self.logs = path / "logs"
        self.credentials_file = path / "credentials.json"

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[DataDirectory]:
        """Lock `path` for this process; create it if it does not exist.

        Raises: DataDirectoryTaken; DataDirectoryUnusable.
        """
        path = path.absolute()
        with _lock_file(path) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel releases it when this process ends
            except BlockingIOError:
                owner = os.pread(lock, 32, 0).decode().strip() or "unknown"
                raise DataDirectoryTaken(
                    f"{path} is in use by another `slipway up` (pid {owner}). Stop it, or choose another --data-dir."
                ) from None
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            directory = cls(path)
            for folder in (directory.run, directory.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
            yield directory

    def end_earlier_processes(self) -> list[str]:
        """End the processes that a killed run left running. Returns: their names."""
        return pidfiles.end_processes(self.run)

    def secrets(self) -> Secrets:
        """The secrets of this stack; created at the first call."""
        file = self.path / "secrets.json"
        if not file.exists():
            write_private(file, msgspec.json.encode(Secrets.new()))
        known = msgspec.json.decode(file.read_bytes(), type=Secrets)
        if not known.secrets_key:
            known = msgspec.structs.replace(known, secrets_key=new_key())
            write_private(file, msgspec.json.encode(known))
        return known

    def credentials(self) -> Credentials | None:
        """The credentials that were written at the first start; None before it."""
        if not self.credentials_file.exists():
            return None
        return msgspec.json.decode(self.credentials_file.read_bytes(), type=Credentials)

    def write_credentials(self, credentials: Credentials) -> None:
        """Write credentials.json, which clients read."""
        write_private(self.credentials_file, msgspec.json.format(msgspec.json.encode(credentials), indent=2) + b"\n")


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user may read, atomically."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with _opened_private(unfinished) as descriptor:
        os.write(descriptor, content)
        os.fsync(descriptor)
    unfinished.replace(path)


@contextmanager
def _lock_file(directory: Path) -> Iterator[int]:
    """The file that is locked in `directory`, both made if they are not there. Raises: DataDirectoryUnusable."""
    with ExitStack() as opened:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = opened.enter_context(_opened_private(directory / "lock"))
        except OSError as error:
            raise DataDirectoryUnusable(
                f"Cannot keep data in {directory}: {error.strerror}. Choose another --data-dir."
            ) from error
        yield lock


@contextmanager
def _opened_private(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
