"""Runs all of Slipway on one machine: dependencies, then services, then the first project and key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.data_directory import Credentials, DataDirectory, write_private
from deploy.local.errors import PortTaken
from deploy.local.nats import Nats
from deploy.local.object_import import check_importable, find_importable, import_objects
from deploy.local.ports import free_port, is_free
from deploy.local.postgres import Postgres
from deploy.local.s3 import S3
from deploy.local.services import NAMES, ServiceProcess
from deploy.local.supervisor import Say, Supervisor
from libs.client import AsyncClient

PROJECT = "default"
FEATURES = ["model_sharing"]  # all of them: who has a machine of their own may use everything
SCOPES = ["models", "files", "batches", "inference"]
SERVICES_WITHIN_S = 8.0  # to finish what they are doing; then they are killed
ALL_WITHIN_S = 9.5


@dataclass(frozen=True)
class Running:
    """A running stack."""

    credentials: Credentials
    settings: Mapping[str, str]  # the environment variables of the services: URLs and the operator key


@asynccontextmanager
async def running(data_dir: Path, port: int, say: Say, *, import_earlier: bool = False) -> AsyncIterator[Running]:
    """Run everything in `data_dir` while the context lasts, with the API on `port` of 127.0.0.1 (0: any free one).

    `say` is called with a sentence for each thing that happens. At the end nothing runs; the data is kept.
    `import_earlier` first imports the objects of an earlier release; without it a directory that has some is refused.
    Raises: CannotRun, in one of its forms.
    """
    with DataDirectory.open(data_dir) as directory:
        if port and not is_free(port):
            raise PortTaken(f"Port {port} of 127.0.0.1 is taken. Choose another with --port, or 0 for any free one.")
        if importable := find_importable(directory.path):
            check_importable(importable, data_dir, import_earlier)
        if ended := directory.end_earlier_processes():
            say(f"ended what a killed run had left: {', '.join(ended)}")
        dependencies, services = Supervisor(say), Supervisor(say)
        try:
            settings = await _start_dependencies(directory, dependencies)
            if importable:
                await import_objects(importable, settings["SLIPWAY_S3_URL"], say)
            credentials = await _start_services(directory, port or free_port(), settings, services, say)
            yield Running(credentials, settings)
        finally:
            await _stop(dependencies, services)


async def _start_dependencies(directory: DataDirectory, dependencies: Supervisor) -> Mapping[str, str]:
    """Start Postgres, NATS and S3; returns the variables by which services find them."""
    secrets = directory.secrets()
    postgres = Postgres(directory.path, free_port(), secrets.postgres_password)
    nats = Nats(directory.path, free_port(), secrets.nats_token)
    s3 = S3(directory.path, free_port(), secrets.s3_access_key, secrets.s3_secret_key)
    await dependencies.start(postgres, nats, s3)
    settings = {
        "SLIPWAY_DATABASE_URL": postgres.url,
        "SLIPWAY_NATS_URL": nats.url,
        "SLIPWAY_S3_URL": s3.url,
        "SLIPWAY_OPERATOR_KEY": secrets.operator_key,
        "SLIPWAY_SECRETS_KEY": secrets.secrets_key,
    }
    for_a_shell = "".join(f"{name}='{value}'\n" for name, value in settings.items())
    write_private(directory.run / "services.env", for_a_shell.encode())
    return settings


async def _start_services(
    directory: DataDirectory, port: int, settings: Mapping[str, str], services: Supervisor, say: Say
) -> Credentials:
    ports = {name: port if name == "gateway" else free_port() for name in NAMES}
    await services.start(*(ServiceProcess(name, directory.path, ports[name], settings, say) for name in NAMES))
    return await _credentials(directory, f"http://127.0.0.1:{port}", settings["SLIPWAY_OPERATOR_KEY"])


async def _stop(dependencies: Supervisor, services: Supervisor) -> None:
    """Stop the services first, while they can still finish their work; then the dependencies."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + ALL_WITHIN_S
    await services.stop(SERVICES_WITHIN_S)
    await dependencies.stop(deadline - clock())


async def _credentials(directory: DataDirectory, address: str, operator_key: str) -> Credentials:
    """The credentials of the first start, or else a project and a key; written down with the present address."""
    known = directory.credentials()
    if known is None:
        async with AsyncClient(f"{address}/v1", operator_key) as api:
            there = [project for project in await api.projects.all() if project.name == PROJECT]
            project = there[0] if there else await api.projects.create(PROJECT)
            for feature in FEATURES:
                await api.operator.enable_feature(project.id, feature)
            key = await api.projects.create_key(project.id, name="slipway up", role="admin", scopes=SCOPES)
        project_id, api_key = project.id, str(key.key)
    else:
        project_id, api_key = known.project_id, known.api_key
    credentials = Credentials(f"{address}/{project_id}/v1", project_id, api_key, operator_key)
    if credentials != known:
        directory.write_credentials(credentials)
    return credentials
