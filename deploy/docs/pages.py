"""The generated pages, by their paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from deploy.docs.blocking import BLOCKING, blocking_resources
from deploy.docs.events import SERVICES, events_page, package_file, service_package
from deploy.docs.findings import findings_page
from deploy.docs.openapi import openapi_json
from deploy.docs.settings import settings_page
from deploy.docs.states import states_page

DOCS = Path(__file__).parents[2] / "docs"

PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "events.md": events_page,
    DOCS / "findings.md": findings_page,
    DOCS / "openapi.json": openapi_json,
    DOCS / "settings.md": settings_page,
    DOCS / "states.md": states_page,
    BLOCKING: blocking_resources,
    # their docstrings name events and tables
    **{package_file(service): partial(service_package, service) for service in SERVICES},
}


def outdated() -> list[Path]:
    """The pages that are missing, or differ from what is generated now."""
    return [path for path, page in PAGES.items() if not path.exists() or path.read_text(encoding="utf-8") != page()]
