"""Every property of a model is read, stored and shown; docs/recipes/metadata-field.md adds one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from libs.contracts import ModelMetadata, ModelProperties
from services.gateway.models.schemas import Extended
from services.gateway.models.store.models import ModelRow

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "services" / "gateway" / "migrations"
READ_IN = ROOT / "services" / "validator" / "metadata.py"
PROPERTIES = ModelProperties.__struct_fields__

by_property = pytest.mark.parametrize("name", PROPERTIES)


@by_property
def test_it_is_read(name: str) -> None:
    if not re.search(rf"^\s+{name}=", READ_IN.read_text(), re.MULTILINE):
        pytest.fail(f"{READ_IN.relative_to(ROOT)} does not set {name}")


@by_property
def test_it_has_a_column(name: str) -> None:
    statements = "\n".join(path.read_text() for path in sorted(MIGRATIONS.glob("*.sql")))
    of_model = re.findall(r"(?:CREATE|ALTER) TABLE model\b.*?;", statements, re.DOTALL)
    if not any(re.search(rf"^\s*(?:ADD COLUMN )?{name}\s+[a-z]", statement, re.MULTILINE) for statement in of_model):
        pytest.fail(f"{MIGRATIONS.relative_to(ROOT)} has no migration that adds {name} to the table model")
    assert name in ModelRow.__struct_fields__


@by_property
def test_it_is_shown(name: str) -> None:
    assert name in ModelMetadata.__struct_fields__
    assert name in Extended.__struct_fields__, f"services/gateway/models/schemas.py: Extended has no {name}"
