"""What ours is measured against: MLflow, the same client without Slipway, tar, and a server of two libraries."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.stage import timed

REQUIREMENTS = ("mlflow-skinny==3.17.*", "boto3>=1.40,<2")
BLOCK_BYTES = 1 << 20

# Run in MLflow's environment; prints the seconds of each log_artifacts, imports and run creation left out.
LOG_ARTIFACTS = textwrap.dedent("""
    import json, sys, time
    import mlflow
    folder, bucket, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seconds = []
    for number in range(repeats):
        experiment = mlflow.create_experiment(f"bench {time.time_ns()}", artifact_location=f"s3://{bucket}/{number}")
        with mlflow.start_run(experiment_id=experiment):
            began = time.perf_counter()
            mlflow.log_artifacts(folder)
            seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds))
""")


async def mlflow_python() -> Path:
    """The Python of an environment that has MLflow, made in the user's cache the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway-bench"
    key = hashlib.sha256(repr((REQUIREMENTS, sys.version_info[:2])).encode()).hexdigest()[:16]
    python = cache / key / "bin" / "python"
    if not (cache / key / "complete").exists():
        await timed(sys.executable, "-m", "venv", "--clear", str(cache / key))
        quiet = ("--quiet", "--disable-pip-version-check")
        await timed(str(python), "-m", "pip", "install", *quiet, *REQUIREMENTS)
        (cache / key / "complete").touch()
    return python


async def mlflow_log_artifacts(folder: Path, s3_url: str, repeats: int, scratch: Path) -> list[float]:
    """Seconds that MLflow takes to store `folder` in the bucket of `s3_url`, each time."""
    url = urlsplit(s3_url)
    environment = {
        "MLFLOW_S3_ENDPOINT_URL": f"http://{url.hostname}:{url.port}",
        "AWS_ACCESS_KEY_ID": str(url.username),
        "AWS_SECRET_ACCESS_KEY": str(url.password),
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_TRACKING_URI": f"file://{scratch}/mlruns",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    script = scratch / "log_artifacts.py"
    script.write_text(LOG_ARTIFACTS)
    bucket = url.path.strip("/")
    command = (str(await mlflow_python()), str(script), str(folder), f"{bucket}/mlflow", str(repeats))
    _, printed = await timed(*command, cwd=scratch, env=environment)
    seconds: list[float] = json.loads(printed.splitlines()[-1])
    return seconds


def send(method: str, url: str, size_bytes: int, block: bytes, headers: dict[str, str]) -> float:
    """One request with a body of `size_bytes`, the block again and again: seconds until it is answered."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc)
    try:
        began = time.perf_counter()
        connection.putrequest(method, f"{target.path}?{target.query}")
        for name, value in ({"Content-Length": str(size_bytes)} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        for _ in range(size_bytes // len(block)):
            connection.send(block)
        answer = connection.getresponse()
        said = answer.read()
        seconds = time.perf_counter() - began
    finally:
        connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {target.path} answered {answer.status}: {said[:300]!r}")
    return seconds


async def untar(archive: Path, folder: Path) -> float:
    """`tar -xzf` into `folder`: seconds."""
    folder.mkdir()
    seconds, _ = await timed("tar", "-xzf", str(archive), "-C", str(folder))
    return seconds


@asynccontextmanager
async def bare_server(database_url: str, schema: str) -> AsyncIterator[str]:
    """aiohttp and asyncpg, one indexed query a request: its address."""
    command = (sys.executable, "-m", "tests.bench.bare", database_url, schema)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()
