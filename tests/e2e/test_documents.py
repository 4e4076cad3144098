"""The documents' own scripts, with nothing replaced but the address, the key and the path."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.client import Client, answered, archived
from tests.e2e.documented import Document
from tests.support.deployment import CHUNK_BYTES, Deployment
from tests.support.models import given_big_llama, given_llama, written

CURL = Document.read("model-upload")


def upload_archive(archive_path: str, model_name: str, API_KEY: str, BASE_URL: str) -> Any:  # noqa: N803  # as documented
    """ "Archive Upload Example", Python, of the documents."""
    archive_size = os.path.getsize(archive_path)

    # Initialize
    init = requests.post(
        f"{BASE_URL}/uploads/archive",
        headers={"Authorization": f"Bearer {API_KEY}"},
        json={"model_name": model_name, "archive_size": archive_size, "archive_format": "tar.gz"},
    ).json()
    session_id = init["session_id"]
    chunk_size = init["chunk_size"]

    # Upload chunks
    with open(archive_path, "rb") as f:
        idx = 0
        while chunk := f.read(chunk_size):
            checksum = hashlib.sha256(chunk).hexdigest()
            requests.post(
                f"{BASE_URL}/uploads/{session_id}/parts?part_number={idx}",
                headers={"Authorization": f"Bearer {API_KEY}", "X-Chunk-Checksum": checksum},
                data=chunk,
            )
            idx += 1

    # Complete
    return requests.post(
        f"{BASE_URL}/uploads/{session_id}/complete", headers={"Authorization": f"Bearer {API_KEY}"}
    ).json()


def upload_directory(model_dir: str, model_name: str, API_KEY: str, BASE_URL: str) -> Any:  # noqa: N803  # as documented
    """ "Directory Upload Example", Python, of the documents."""
    model_path = Path(model_dir)

    # Build manifest
    files: list[dict[str, str | int]] = [
        {"relative_path": str(f.relative_to(model_path)), "size": f.stat().st_size}
        for f in model_path.rglob("*")
        if f.is_file()
    ]

    # Initialize
    init = requests.post(
        f"{BASE_URL}/uploads/directory",
        headers={"Authorization": f"Bearer {API_KEY}"},
        json={"model_name": model_name, "files": files},
    ).json()
    session_id = init["session_id"]

    # Upload each file
    for file_info in files:
        file_path = model_path / str(file_info["relative_path"])
        with open(file_path, "rb") as f:
            data = f.read()
        checksum = hashlib.sha256(data).hexdigest()
        requests.post(
            f"{BASE_URL}/uploads/{session_id}/files/{file_info['relative_path']}",
            headers={"Authorization": f"Bearer {API_KEY}", "X-File-Checksum": checksum},
            data=data,
        )

    # Complete
    return requests.post(
        f"{BASE_URL}/uploads/{session_id}/complete", headers={"Authorization": f"Bearer {API_KEY}"}
    ).json()


def test_the_documented_archive_upload(client: Client, tmp_path: Path) -> None:
    files = given_big_llama(5 * CHUNK_BYTES)
    archive = tmp_path / "qwen3-0.6b.tar.gz"
    archive.write_bytes(archived(files))

    done = upload_archive(str(archive), "Qwen3-0.6B", client.key, client.base)

    check_completed(client, done, "Qwen3-0.6B", files)


def test_the_documented_directory_upload(client: Client, model_folder: Path) -> None:
    files = given_llama(shards=2) | {"1_Pooling/config.json": b"{}", "a name with 100% ü.txt": b"text"}
    written(files, model_folder)

    done = upload_directory(str(model_folder), "Qwen3-0.6B", client.key, client.base)

    check_completed(client, done, "Qwen3-0.6B", files)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_documented_uploads_by_curl(client: Client, tmp_path: Path) -> None:
    """The answers have all that the documents show; the sizes are theirs."""
    archive, directory, file = list(CURL.sections)
    (tmp_path / "config.json").write_bytes(b"{" + b" " * 1232 + b"}")

    def run(title: str, **variables: str) -> dict[str, Any]:
        printed = CURL.run(title, "sh", base=client.base, key=client.key, folder=tmp_path, **variables)
        answer: dict[str, Any] = json.loads(printed)
        CURL.check(title, answer)
        return answer

    of_archive, of_directory = run(archive), run(directory)
    stored = run(file, SESSION_ID=of_directory["session_id"])

    assert of_archive["upload_url"].endswith(f"/uploads/{of_archive['session_id']}/chunks")
    assert of_archive["total_chunks"] == -(-1234567890 // of_archive["chunk_size"])
    assert [each["size"] for each in of_directory["files"]] == [1234, 1234000000, 5678]
    assert (stored["uploaded_file_count"], stored["expected_file_count"]) == (1, 3)
    assert stored["checksum"] == hashlib.sha256((tmp_path / "config.json").read_bytes()).hexdigest()
    for session in (of_archive, of_directory):
        answered(client.delete(f"uploads/{session['session_id']}"))


def test_the_model_is_listed_and_its_files_come_back_as_they_went(client: Client, deployment: Deployment) -> None:
    files = given_llama()
    done = client.upload("tiny", archived(files))
    model = client.settled(done["model_id"])

    assert model["architecture"] == "LlamaForCausalLM"
    assert [each["id"] for each in answered(client.get("models"))["data"]] == [done["model_id"]]
    for path, content in files.items():
        assert client.get(f"models/{done['model_id']}/files/{path}").content == content
    assert sorted(deployment.stored(client.project_id).values()) == sorted(len(content) for content in files.values())


def check_completed(client: Client, done: dict[str, Any], name: str, files: dict[str, bytes]) -> None:
    """The answer of `complete` has what the documents show, and the model becomes ready."""
    assert (done["model_name"], done["status"], done["file_count"]) == (name, "completed", len(files)), done
    assert done["total_size"] == sum(len(content) for content in files.values())
    assert {each["relative_path"]: each["size"] for each in done["files"]} == {
        path: len(content) for path, content in files.items()
    }
    assert all(each["content_type"] for each in done["files"])
    client.settled(done["model_id"])
