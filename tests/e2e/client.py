"""A project of one's own and its key, over plain HTTP: the API as any client sees it."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from tests.support.eventually import eventually_sync


class Client:
    """Talks to `{address}/{project}/v1`; every method gives the answer as it came."""

    def __init__(self, address: str, project_id: str, key: str) -> None:
        self.project_id = project_id
        self.key = key
        self.base = f"{address}/{project_id}/v1"
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str, **rest: Any) -> requests.Response:
        return self.http.get(f"{self.base}/{path}", timeout=90, **rest)

    def post(self, path: str, **rest: Any) -> requests.Response:
        return self.http.post(f"{self.base}/{path}", timeout=90, **rest)

    def delete(self, path: str) -> requests.Response:
        return self.http.delete(f"{self.base}/{path}", timeout=90)

    def open_archive(self, name: str, archive: bytes, archive_format: str = "tar.gz", **rest: Any) -> dict[str, Any]:
        """A new session for `archive`."""
        body = {"model_name": name, "archive_size": len(archive), "archive_format": archive_format, **rest}
        return answered(self.post("uploads/archive", json=body))

    def send(self, session: dict[str, Any], archive: bytes, number: int) -> requests.Response:
        """One part, with its checksum."""
        size = session["chunk_size"]
        return self.send_bytes(session, archive[number * size : (number + 1) * size], number)

    def send_bytes(self, session: dict[str, Any], part: bytes, number: int) -> requests.Response:
        """`part`, whatever it is, as part `number`, with its checksum."""
        headers = {"X-Chunk-Checksum": hashlib.sha256(part).hexdigest()}
        return self.post(f"uploads/{session['session_id']}/parts?part_number={number}", data=part, headers=headers)

    def complete(self, session: dict[str, Any], wait_s: int = 60) -> requests.Response:
        return self.post(f"uploads/{session['session_id']}/complete", headers={"Prefer": f"wait={wait_s}"})

    def upload(self, name: str, archive: bytes, archive_format: str = "tar.gz") -> dict[str, Any]:
        """The whole of an archive upload; what `complete` answers."""
        session = self.open_archive(name, archive, archive_format)
        for number in range(session["total_chunks"]):
            answered(self.send(session, archive, number))
        return answered(self.complete(session))

    def look(self, session: dict[str, Any]) -> dict[str, Any]:
        """The session as it is now."""
        return answered(self.get(f"uploads/{session['session_id']}"))

    def model(self, model_id: str) -> dict[str, Any]:
        return answered(self.get(f"models/{model_id}?extended=true"))

    def settled(self, model_id: str, status: str = "ready", within_s: float = 60) -> dict[str, Any]:
        """The model, once it has `status`; that it came to rest in another is told at once."""

        def look() -> dict[str, Any]:
            model = self.model(model_id)
            if model["status"] in {"ready", "error"} - {status}:
                pytest.fail(f"{model['name']} is {model['status']}, not {status}: {model['status_reason']}")
            assert model["status"] == status, f"{model['name']} is still {model['status']}"
            return model

        return eventually_sync(look, within_s)


def answered(response: requests.Response, *statuses: int) -> dict[str, Any]:
    """The body of an answer that must have one of `statuses`: 200 or 201 if none is given."""
    assert response.status_code in (statuses or (200, 201)), f"{response.status_code}: {response.text[:500]}"
    body: dict[str, Any] = response.json()
    return body


def refused(response: requests.Response, status: int, code: str) -> str:
    """The message of a refusal that must have `status` and `code`, in the envelope of every refusal."""
    error = answered(response, status)["error"]
    assert error.keys() >= {"message", "type", "param", "code"}, error
    assert error["code"] == code, error
    assert response.headers["x-request-id"]
    return str(error["message"])


def archived(files: Mapping[str, bytes], archive_format: str = "tar.gz", folder: str = "./") -> bytes:
    """`files` as an archive, in their order."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(f"{folder}{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    pack: dict[str, Callable[[bytes], bytes]] = {
        "tar": bytes,
        "tar.gz": lambda raw: gzip.compress(raw, 1),
        "tar.bz2": bz2.compress,
    }
    return pack[archive_format](packed.getvalue())
