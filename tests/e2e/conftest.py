"""One deployment for all end-to-end tests, a project for each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.client import Client, answered
from tests.support.deployment import Deployment
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def deployment(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The four services, running."""
    deployment = Deployment(stack, tmp_path_factory.mktemp("services"))
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture(scope="session")
def new_client(deployment: Deployment) -> Callable[[], Client]:
    """Makes a project and a client of it."""

    def new_client() -> Client:
        operator = {"Authorization": f"Bearer {deployment.operator_key}"}
        projects = f"{deployment.address}/admin/v1/projects"
        project = answered(requests.post(projects, headers=operator, json={"name": f"e2e {secrets.token_hex(4)}"}))
        key = answered(requests.post(f"{projects}/{project['id']}/keys", headers=operator, json={"scopes": ["models"]}))
        return Client(deployment.address, project["id"], key["key"])

    return new_client


@pytest.fixture
def client(deployment: Deployment, new_client: Callable[[], Client]) -> Iterator[Client]:
    """A project of the test's own. When the test is over, storage holds exactly what the database says."""
    client = new_client()
    with client.http:
        yield client
        deployment.settle(client.project_id)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Where a test may write a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    return folder
