"""Where the bench happens: the embedded stack in a scratch directory, projects in it, models to send."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from isal import igzip_threaded
from safetensors.numpy import save_file

from deploy.local.ports import free_port
from deploy.local.services import NAMES, ServiceProcess
from deploy.local.supervisor import Supervisor
from deploy.local.up import running
from libs.client import AsyncClient
from tests.support.models import LLAMA_CONFIG, encoded, given_llama

MB = 1_000_000


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    repeats: int
    part_bytes: int
    model_bytes: int
    archive_bytes: int
    member_bytes: int
    small_models: int
    requests: int
    uploads: int
    upload_bytes: int
    open_uploads: int
    models: int  # of one project
    idle_s: float

    def share(self, share: float) -> Sizes:
        """That share of the bytes, requests and open uploads, once each; as many at once."""
        mib = 1 << 20
        return replace(
            self,
            repeats=max(1, round(self.repeats * share)),
            part_bytes=max(mib, int(self.part_bytes * share) // mib * mib),
            model_bytes=int(self.model_bytes * share),
            archive_bytes=int(self.archive_bytes * share),
            member_bytes=int(self.member_bytes * share),
            requests=int(self.requests * share),
            upload_bytes=max(mib, int(self.upload_bytes * share) // mib * mib),
            open_uploads=int(self.open_uploads * share),
            models=int(self.models * share),
            idle_s=self.idle_s * share,
        )


FULL = Sizes(3, 96 << 20, 500 * MB, 1 << 30, 256 << 20, 30, 4000, 50, 16 << 20, 10_000, 100_000, 30.0)
TINY = Sizes(1, 1 << 20, 2 * MB, 2 * MB, 2 * MB, 2, 50, 3, 1 << 20, 10, 200, 0.2)


@dataclass(frozen=True)
class Project:
    """A project of its own: nothing that another run sent saves it anything."""

    base_url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


class Deployed:
    """Services that run: where the gateway is, and the operator's key."""

    def __init__(self, address: str, operator_key: str, run_folder: Path) -> None:
        self.address = address
        self._operator_key = operator_key
        self._run = run_folder

    async def project(self) -> Project:
        async with AsyncClient(f"{self.address}/v1", self._operator_key) as operator:
            project = await operator.projects.create(f"bench {secrets.token_hex(4)}")
            key = await operator.projects.create_key(project.id, name="bench", scopes=["models"])
        return Project(f"{self.address}/{project.id}/v1", str(key.key))

    def pid(self, name: str) -> int:
        return int(json.loads((self._run / f"{name}.pid").read_text())["pid"])


class Stage:
    """The stack, and what measures need of it."""

    def __init__(
        self, folder: Path, sizes: Sizes, main: Deployed, settings: dict[str, str], say: Callable[[str], None]
    ):
        self.folder = folder
        self.sizes = sizes
        self.main = main
        self.settings = settings
        self.say = say

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, sizes: Sizes, say: Callable[[str], None]) -> AsyncIterator[Stage]:
        data = folder / "data"
        async with running(data, 0, say) as up:
            address = up.credentials.base_url.removesuffix(f"/{up.credentials.project_id}/v1")
            main = Deployed(address, up.credentials.operator_key, data / "run")
            yield cls(folder, sizes, main, dict(up.settings), say)

    @asynccontextmanager
    async def deployed(
        self, namespace: str, *, extractor: dict[str, str] | None = None, **settings: str
    ) -> AsyncIterator[Deployed]:
        """A second set of services on the same Postgres, NATS and S3; `extractor` has variables of that one's own."""
        folder = self.folder / namespace
        folder.mkdir()
        ports = {name: free_port() for name in NAMES}
        common = self.settings | {"SLIPWAY_NAMESPACE": namespace} | settings
        own = {"extractor": extractor or {}}
        supervisor = Supervisor(self.say)
        try:
            await supervisor.start(
                *(ServiceProcess(n, folder, ports[n], common | own.get(n, {}), self.say) for n in NAMES)
            )
            address, key = f"http://127.0.0.1:{ports['gateway']}", self.settings["SLIPWAY_OPERATOR_KEY"]
            yield Deployed(address, key, folder / "run")
        finally:
            await supervisor.stop(8)

    async def median(self, run: Callable[[], Awaitable[float]]) -> float:
        """Of as many runs as there are repeats."""
        return statistics.median([await run() for _ in range(self.sizes.repeats)])

    async def cli_upload(self, project: Project, path: Path, name: str) -> float:
        """`slipway upload`, from the start of the command to its end, when the model is ready: seconds."""
        options = ("--base-url", project.base_url, "--api-key", project.key, "--json")
        seconds, _ = await timed(sys.executable, "-m", "libs.cli", "upload", str(path), "--name", name, *options)
        return seconds

    def model(self, name: str, size_bytes: int) -> Path:
        """A Llama of about `size_bytes` in four shards of random numbers; made once a name."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir()
            _write_llama(folder, size_bytes)
        return folder

    def archive(self, model: Path) -> Path:
        """`model` as a .tar.gz; made once."""
        path = model.with_suffix(".tar.gz")
        if not path.exists():
            with (
                igzip_threaded.open(path, "wb", compresslevel=1, threads=1) as stream,
                tarfile.open(fileobj=stream, mode="w|") as tar,
            ):
                tar.add(model, arcname=".")
        return path


async def timed(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> tuple[float, bytes]:
    """Run a command to its end: seconds, and what it printed. `env`: variables beside ours.

    Raises: RuntimeError with what it said if it fails.
    """
    began = time.perf_counter()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=os.environ | dict(env or {}), stdout=pipe, stderr=pipe
    )
    printed, said = await process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed: {said.decode()[-600:]}{printed.decode()[-300:]}")
    return seconds, printed


def _write_llama(folder: Path, size_bytes: int) -> None:
    layers, per_layer = 4, size_bytes // 8  # numbers of 16 bits
    hidden = 1024 if per_layer > 10_000_000 else int(LLAMA_CONFIG["hidden_size"])  # type: ignore[call-overload]
    heads, kv = int(LLAMA_CONFIG["num_attention_heads"]), int(LLAMA_CONFIG["num_key_value_heads"])  # type: ignore[call-overload]
    kv_rows = hidden // heads * kv
    inner = max(hidden, (per_layer - 2 * hidden * hidden - 2 * kv_rows * hidden) // (3 * hidden))
    for path, content in given_llama(hidden_size=hidden, intermediate_size=inner, layers=layers).items():
        if not path.endswith(".safetensors"):
            (folder / path).write_bytes(content)
    random = np.random.default_rng(1)
    vocabulary = int(LLAMA_CONFIG["vocab_size"])  # type: ignore[call-overload]
    first = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    weight_map: dict[str, str] = {}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes = {
            f"{at}.input_layernorm.weight": (hidden,),
            f"{at}.self_attn.q_proj.weight": (hidden, hidden),
            f"{at}.self_attn.k_proj.weight": (kv_rows, hidden),
            f"{at}.self_attn.v_proj.weight": (kv_rows, hidden),
            f"{at}.self_attn.o_proj.weight": (hidden, hidden),
            f"{at}.post_attention_layernorm.weight": (hidden,),
            f"{at}.mlp.gate_proj.weight": (inner, hidden),
            f"{at}.mlp.up_proj.weight": (inner, hidden),
            f"{at}.mlp.down_proj.weight": (hidden, inner),
        } | (first if layer == 0 else {})
        path = f"model-{layer + 1:05}-of-{layers:05}.safetensors"
        tensors = {name: _numbers(random, shape) for name, shape in shapes.items()}
        save_file(tensors, folder / path, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, path)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_bytes(encoded(index))


def _numbers(random: np.random.Generator, shape: Sequence[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    """Between 0 and 1, by their bits."""
    return random.integers(0, 0x3C00, tuple(shape), np.uint16).view(np.float16)
