"""Every service has the same files and is named wherever services are; docs/recipes/service.md adds one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from deploy.local.services import NAMES
from libs.bus import Handlers

ROOT = Path(__file__).parents[2]
FOUND = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))
FILES = ("__init__.py", "app.py", "config.py", "dependencies.py", "handlers.py", "migrations/0001_*.sql")
PAGES = ("README.md", "docs/architecture.md")

each_service = pytest.mark.parametrize("service", FOUND)


@each_service
def test_it_has_the_files_of_a_service(service: str) -> None:
    folder = ROOT / "services" / service
    missing = [file for file in FILES if not list(folder.glob(file))]
    assert missing == [], f"services/{service} has no {missing}"
    has_store = any(folder.rglob("store.py")) or any(folder.rglob("store/__init__.py"))
    assert has_store, f"services/{service} has neither store.py nor store/"


@each_service
def test_its_parts_have_the_names_that_all_services_use(service: str) -> None:
    app = importlib.import_module(f"services.{service}.app")
    dependencies = importlib.import_module(f"services.{service}.dependencies")
    handlers = importlib.import_module(f"services.{service}.handlers").handlers
    assert callable(app.build), f"services/{service}/app.py has no build()"
    assert (ROOT / "services" / service / "migrations") == app.MIGRATIONS
    assert isinstance(dependencies.Dependencies, type), f"services/{service}/dependencies.py has no Dependencies"
    assert isinstance(handlers, Handlers)
    assert handlers.service == service, f"services/{service}/handlers.py: Handlers({handlers.service!r})"


@each_service
def test_it_is_started_with_the_others(service: str) -> None:
    assert service in NAMES, f"deploy/local/services.py: NAMES has no {service}"


@each_service
@pytest.mark.parametrize("page", PAGES)
def test_people_can_find_it(service: str, page: str) -> None:
    assert service in (ROOT / page).read_text(encoding="utf-8"), f"{page} does not name {service}"


@each_service
def test_it_has_tests_on_real_servers(service: str) -> None:
    tests = ROOT / "tests" / "integration" / service
    assert list(tests.rglob("test_*.py")), f"tests/integration/{service} has no tests"


def test_no_name_is_without_its_service() -> None:
    assert sorted(NAMES) == FOUND
