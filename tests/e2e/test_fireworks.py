"""The documented script of Fireworks: only address, account, key, name and path are replaced. And what may go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from tests.e2e.client import Client, answered
from tests.support.deployment import Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_big_llama, given_llama, written

DOCUMENTED = (Path(__file__).parent / "fireworks_upload.txt").read_text()
BIG = 40 * 1024 * 1024


class Fireworks:
    """A client of the API of Fireworks, as the script is one."""

    def __init__(self, client: Client, deployment: Deployment) -> None:
        self.client = client
        self.address = deployment.address
        self.models = f"{deployment.address}/v1/accounts/{client.project_id}/models"

    def run(self, folder: Path, name: str) -> str:
        """Run the script to its end. Returns what it prints."""
        script = DOCUMENTED
        for documented, ours in (
            ("https://api.fireworks.ai", self.address),
            ("your-account-id", self.client.project_id),
            ("my-custom-model", name),
            ("/path/to/model/files/", str(folder)),
        ):
            assert script.count(documented) == 1
            script = script.replace(documented, ours)
        env = {**os.environ, "FIREWORKS_API_KEY": self.client.key}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create(self, name: str, files: dict[str, bytes]) -> None:
        details: dict[str, Any] = {"checkpointFormat": "HUGGINGFACE", "worldSize": 1, "huggingfaceFiles": list(files)}
        body: dict[str, Any] = {"modelId": name, "model": {"kind": "HF_BASE_MODEL", "baseModelDetails": details}}
        answered(self.client.http.post(self.models, json=body, timeout=90))

    def urls(self, name: str, files: dict[str, bytes], **more: Any) -> dict[str, str]:
        sizes = {path: len(data) for path, data in files.items()}
        url = f"{self.models}/{name}:getUploadEndpoint"
        answer = answered(self.client.http.post(url, json={"filenameToSize": sizes, **more}, timeout=90))
        urls: dict[str, str] = answer["filenameToSignedUrls"]
        return urls

    def put_all(self, name: str, files: dict[str, bytes], **more: Any) -> None:
        for path, url in self.urls(name, files, **more).items():
            answered_plainly(requests.put(url, data=files[path], timeout=90))

    def validate(self, name: str, wait_s: int = 20) -> requests.Response:
        headers = {"Prefer": f"wait={wait_s}"}
        return self.client.http.get(f"{self.models}/{name}:validateUpload", headers=headers, timeout=90)

    def until_ready(self, name: str, files: dict[str, bytes]) -> None:
        def valid() -> None:
            assert answered(self.validate(name)) == {}

        eventually_sync(valid, 120)
        for path, content in files.items():
            assert self.client.get(f"models/{name}/files/{path}").content == content


def answered_plainly(response: requests.Response) -> None:
    assert response.status_code == 200, response.text[:500]


def test_the_documented_script(client: Client, deployment: Deployment, model_folder: Path) -> None:
    """It runs to its end without a pause, and again from the top, which changes nothing."""
    fireworks, files = Fireworks(client, deployment), given_llama(shards=2)
    written(files, model_folder)
    said = fireworks.run(model_folder, "my-model")
    assert "Model validated and ready to deploy!" in said
    assert "retrying in 30s" not in said
    fireworks.until_ready("my-model", files)
    stored = deployment.stored(client.project_id)
    assert "Model validated and ready to deploy!" in fireworks.run(model_folder, "my-model")
    assert {key: size for key, size in deployment.stored(client.project_id).items() if "/objects/" in key} == {
        key: size for key, size in stored.items() if "/objects/" in key
    }
    fireworks.until_ready("my-model", files)


def test_gateway_killed_between_a_signed_put_and_validate(client: Client, deployment: Deployment) -> None:
    """What was put counts, and the next gateway goes on."""
    fireworks, files = Fireworks(client, deployment), given_llama(shards=2)
    fireworks.create("killed", files)
    urls = fireworks.urls("killed", files)
    for number, (path, url) in enumerate(urls.items()):
        answered_plainly(requests.put(url, data=files[path], timeout=90))
        if number == 0:
            deployment.kill("gateway")
    deployment.kill("gateway")
    fireworks.until_ready("killed", files)


def test_extractor_killed_while_storage_copies_for_it(client: Client, deployment: Deployment) -> None:
    """And the gateway with it; another extractor copies to other keys, and nothing is left of the first copies."""
    fireworks, files = Fireworks(client, deployment), given_big_llama(BIG)
    fireworks.create("copied-twice", files)
    fireworks.put_all("copied-twice", files)
    with deployment.frozen("extractor"):
        error = answered(fireworks.validate("copied-twice", wait_s=0), 400)["error"]
        assert error["status"] == "FAILED_PRECONDITION"
        assert "still being read" in error["message"]
        with deployment.hanging("s3"):
            deployment.thaw("extractor")
            eventually_sync(lambda: copying(deployment, client))
            deployment.kill("extractor")
            deployment.kill("gateway")
    fireworks.until_ready("copied-twice", files)


def copying(deployment: Deployment, client: Client) -> None:
    """An extractor is at a file of this client."""
    held = "SELECT FROM extraction WHERE project_id = $1 AND leased_by IS NOT NULL"
    assert deployment.sql("extractor", held, client.project_id)


def test_resumable_urls_go_on_where_the_gateway_died(client: Client, deployment: Deployment) -> None:
    """The same stream as of a directory, without a key."""
    fireworks, files = Fireworks(client, deployment), given_big_llama(BIG)
    fireworks.create("resumed", files)
    urls = fireworks.urls("resumed", files, enableResumableUpload=True)
    largest = max(files, key=lambda path: len(files[path]))
    content, size = files[largest], len(files[largest])
    half = size // 2
    span = {"Content-Range": f"bytes 0-{half - 1}/{size}"}
    first = requests.put(urls[largest], data=content[:half], headers=span, timeout=90)
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    deployment.kill("gateway")

    def asked() -> int:
        answer = requests.put(urls[largest], headers={"Content-Range": f"bytes */{size}"}, timeout=90)
        assert answer.status_code == 308
        return int(answer.headers["Range"].rpartition("-")[2]) + 1

    held = eventually_sync(asked)
    assert held == half
    rest = {"Content-Range": f"bytes {held}-{size - 1}/{size}"}
    answered(requests.put(urls[largest], data=content[held:], headers=rest, timeout=90))
    for path in files.keys() - {largest}:
        answered(requests.put(urls[path], data=files[path], timeout=90))
    fireworks.until_ready("resumed", files)
