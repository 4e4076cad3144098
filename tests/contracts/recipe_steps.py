"""The recipes of docs/recipes, each followed for something small: what they change, file by file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One change of a file: `old` becomes `new`; without `old`, `new` is added at the end, or is a new file."""

    path: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Change the file below `root`."""
        path = root / self.path
        path.parent.mkdir(exist_ok=True)
        text = path.read_text() if path.exists() else ""
        assert self.old in text, f"tests/contracts/recipe_steps.py: {self.path} does not contain {self.old!r}"
        path.write_text(text.replace(self.old, self.new, 1) if self.old else text + self.new)


@dataclass(frozen=True)
class Recipe:
    """The steps, and what failing tests say where only the file of the first one was changed."""

    page: str
    steps: Sequence[Step]
    reminders: Sequence[str]

    @property
    def files(self) -> set[str]:
        """The files to change, besides tests."""
        return {step.path for step in self.steps if not step.path.startswith("tests/")}


def _also(path: str, line: str, added: str) -> Step:
    """Add a line after `line`."""
    return Step(path, line, line + added)


# A rule that warns of private keys

_RULES = "services/validator/rules/__init__.py"
_RULE = '''"""Are there files that should not be shared?"""

from __future__ import annotations

from collections.abc import Iterator

from libs.contracts import Finding, findings
from services.validator.model import Model


def check_keys(model: Model) -> Iterator[Finding]:
    """Private keys do not belong to a model."""
    for path in model.sizes:
        if path.endswith(".pem"):
            yield findings.warning("file-key", "The file holds a key.", "Leave it out.", file=path)
'''
_FOUND = '    "a key": (given_llama() | {"key.pem": b"-"}, "file-key", "warning", "key.pem", "holds a key"),\n'

RULE = Recipe(
    page="docs/recipes/validation-rule.md",
    steps=(
        Step("services/validator/rules/keys.py", "", _RULE),
        _also(_RULES, "import configuration,", " keys,"),
        _also(_RULES, "    shapes.check_shapes,\n", "    keys.check_keys,\n"),
        _also(
            "tests/unit/validator/test_rules.py",
            "FOUND: dict[str, tuple[Files, str, str, str | None, str]] = {\n",
            _FOUND,
        ),
    ),
    reminders=(
        "services/validator/rules/__init__.py: RULES lacks keys.check_keys",
        "file-key: add a case to tests/unit/validator/test_rules.py",
        "docs/findings.md is out of date",
    ),
)

# An event from the gateway to lifecycle

_EXPORTS = "libs/contracts/__init__.py"
_TRANSITIONS = "services/gateway/models/transitions.py"
_HANDLERS = "services/lifecycle/handlers.py"
_EVENT = '''class ModelArchived(Event, tag="model.archived.v1"):
    """The model's files went to slow storage."""

    model_id: str


def event_type('''
_EMITTER = '''

async def archive(model_id: str, at: datetime) -> list[Event]:
    """Emits: ModelArchived."""
    return [ModelArchived(model_id=model_id, at=at)]
'''
_HANDLER = '''

@handlers.on(ModelArchived)
async def note_archived(event: ModelArchived, tx: Tx) -> list[Event]:
    """Nothing to do."""
    return []
'''
_GOLDEN_EVENT = '{"type": "model.archived.v1", "model_id": "m", "id": "1", "at": "2030-01-01T12:00:00Z"}'

EVENT = Recipe(
    page="docs/recipes/event.md",
    steps=(
        Step("libs/contracts/events.py", "def event_type(", _EVENT),
        _also(_EXPORTS, "    ModelRegistered,\n", "    ModelArchived,\n"),
        _also(_EXPORTS, '    "ModelRegistered",\n', '    "ModelArchived",\n'),
        _also(_TRANSITIONS, "    Event,\n", "    ModelArchived,\n"),
        Step(_TRANSITIONS, "", _EMITTER),
        _also(_HANDLERS, "    ModelRegistered,\n", "    ModelArchived,\n"),
        Step(_HANDLERS, "", _HANDLER),
        Step("tests/contracts/golden/model.archived.v1.json", "", _GOLDEN_EVENT),
    ),
    reminders=(
        "libs/contracts/__init__.py does not export ModelArchived",
        "ModelArchived: no services/*/transitions.py",
        "ModelArchived: no services/*/handlers.py handles it",
        "tests/contracts/golden has no model.archived.v1.json",
        "docs/events.md is out of date",
    ),
)

# tar.xz

_FORMATS = "libs/contracts/formats.py"
_DECOMPRESS = "libs/archives/decompress.py"
_PACKING = "tests/unit/archives/packing.py"
_HOSTILE = "tests/support/hostile.py"
_SIGNATURE = r'b"\xfd7zXZ\x00"'
_APPEARANCE = f'    "tar.xz": Appearance((".tar.xz", ".txz"), {_SIGNATURE}, 0, "xz data"),\n'
_CODEC = r'''
def _xz_missing(start: bytes) -> int:
    """As `gzipheader.missing`: the magic of six bytes."""
    if not b"\xfd7zXZ\x00".startswith(start[:6]):
        raise HeaderError("does not begin like xz data")
    return 6 - len(start)


def _xz_engine(header: bytes) -> Engine:
    engine = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    engine.decompress(header)
    return engine


CODECS: Mapping[Format, Codec | None] = {
    "tar.xz": Codec("xz", _xz_missing, _xz_engine, lzma.LZMAError),'''
_CHECK = """ALTER TABLE upload_stream
    DROP CONSTRAINT upload_stream_format_check,
    ADD CONSTRAINT upload_stream_format_check
        CHECK (format IN ('tar', 'tar.gz', 'tar.bz2', 'tar.xz', 'raw', 'object', 'remote', 'staged'));
"""
_DAMAGED = """    xz = lzma.compress(GOOD)
    for rule, content in {
        "xz-damaged": xz[:30] + bytes(9) + xz[39:],
        "xz-fragmented": lzma.compress(b"") * 6000,
        "xz-garbage-after-end": xz + b"hello",
        "xz-truncated": xz[:-9],
        "not-xz": zipped,
    }.items():
        yield Hostile(rule, content, rule, "", "", format="tar.xz")
"""

ARCHIVE_FORMAT = Recipe(
    page="docs/recipes/archive-format.md",
    steps=(
        Step(_FORMATS, '"tar.bz2"]', '"tar.bz2", "tar.xz"]'),
        Step(_FORMATS, f'    {_SIGNATURE}: "xz data",\n', ""),
        _also(_FORMATS, '"bzip2 data"),\n', _APPEARANCE),
        _also(_DECOMPRESS, "import bz2\n", "import lzma\n"),
        Step(_DECOMPRESS, "\nCODECS: Mapping[Format, Codec | None] = {", _CODEC),
        Step("services/gateway/migrations/9001_xz.sql", "", _CHECK),
        _also(_PACKING, "import gzip\n", "import lzma\n"),
        _also(_PACKING, '    "tar": bytes,\n', '    "tar.xz": lzma.compress,\n'),
        _also(_HOSTILE, "import gzip\n", "import lzma\n"),
        Step(_HOSTILE, "    inner = gzip.compress(", f"{_DAMAGED}    inner = gzip.compress("),
    ),
    reminders=(
        "libs/archives/decompress.py: CODECS has no tar.xz",
        "services/gateway/migrations: upload_stream_format_check",
        "tests/unit/archives/packing.py: PACK has no tar.xz",
        "docs/openapi.json is out of date",
    ),
)

# Whether the embeddings are tied

_METADATA = "services/validator/metadata.py"
_SET = '        tied_embeddings=bool(config.text.get("tie_word_embeddings")) if config else None,\n'
_COLUMN = "ALTER TABLE model\n    ADD COLUMN tied_embeddings boolean;\n"
_EXPECTED = """

async def test_tied_embeddings() -> None:
    assert (await reported(given_llama(tie_word_embeddings=True))).metadata.tied_embeddings
"""
_GOLDEN_REPORTS = tuple(f"tests/contracts/golden/model.{what}.v1.json" for what in ("validated", "rejected"))

METADATA_FIELD = Recipe(
    page="docs/recipes/metadata-field.md",
    steps=(
        Step(
            "libs/contracts/entities.py",
            "\n\n\nclass ModelMetadata(",
            "\n    tied_embeddings: bool | None = None\n\n\nclass ModelMetadata(",
        ),
        _also(_METADATA, "        dtype=counted.dtype if counted else None,\n", _SET),
        Step("services/gateway/migrations/9002_tied.sql", "", _COLUMN),
        _also("services/gateway/models/schemas.py", "    dtype: str | None\n", "    tied_embeddings: bool | None\n"),
        Step("tests/unit/validator/test_metadata.py", "", _EXPECTED),
        *(_also(path, '"metadata": {', '"tied_embeddings": true, ') for path in _GOLDEN_REPORTS),
    ),
    reminders=(
        "services/validator/metadata.py does not set tied_embeddings",
        "services/gateway/migrations has no migration that adds tied_embeddings",
        "services/gateway/models/schemas.py: Extended has no tied_embeddings",
        "tests/contracts/golden/model.validated.v1.json lacks a field",
        "docs/openapi.json is out of date",
    ),
)

# What an upload may have: the page itself shows the files


def _shown(page: str) -> Sequence[Step]:
    """A new file for each Python block of the page; its path is in the sentence before."""
    text = (Path(__file__).parents[2] / page).read_text()
    blocks = re.findall(r"^\d\. (.*?)\n   ```python\n(.*?)   ```$", text, re.MULTILINE | re.DOTALL)
    return [
        Step(re.findall(r"`(services/[\w/]+\.py)`", sentence)[0], "", "".join(_dedented(code)))
        for sentence, code in blocks
    ]


def _dedented(code: str) -> Sequence[str]:
    return [line.removeprefix("   ") for line in code.splitlines(keepends=True)]


RESOURCE = Recipe(
    page="docs/recipes/resource.md",
    steps=(
        *_shown("docs/recipes/resource.md"),
        Step("services/gateway/resources.py", '    "admin",\n', '    "admin",\n    "bounds",\n'),
    ),
    reminders=("services/gateway/resources.py lists the folders of services/gateway",),
)

RECIPES = (RULE, EVENT, ARCHIVE_FORMAT, METADATA_FIELD, RESOURCE)
