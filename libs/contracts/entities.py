"""Values that events and answers share."""

from __future__ import annotations

from typing import Literal

import msgspec

from libs.contracts.formats import Format

Severity = Literal["error", "warning", "info"]
Tier = Literal["hot", "cold"]
WorkloadType = Literal["chat", "code", "reasoning", "embedding", "multilingual"]
RemoteKind = Literal["s3", "azure"]


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One stored part of a stream; array-like, since an event may carry ten thousand of them."""

    number: int  # 0-based
    attempt: str  # makes the key unique, so that two racing requests never share an object
    size_bytes: int


class RemoteSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file in another object store, and by what it is read there."""

    kind: RemoteKind
    endpoint: str  # scheme://host[:port][/path] of the store
    container: str  # S3: the bucket
    key: str  # of the object; Azure: the name of the blob
    etag: str  # as it was listed, without quotation marks: the file is copied in this version, or not at all
    region: str | None = None  # S3
    secret: str | None = None  # the name of the project's secret; None: the store is asked without credentials
    credentials: str | None = None  # that secret, sealed under the services' key (libs/sealing)


class PartStream(msgspec.Struct, frozen=True, kw_only=True):
    """Parts in their order: an archive to unpack, a file sent in chunks (`raw`), or a stored file to hash or to copy.

    A file in another store (`remote`), or that its client has put into this one (`staged`), has one part, which is all
    of it.
    """

    id: str  # "{upload_id}-{number}"
    upload_id: str
    project_id: str
    model_id: str
    number: int  # 0 for the archive; the index in the manifest for a file
    format: Format
    size_bytes: int  # of all parts together
    total_parts: int
    path: str | None = None  # raw: the file's relative path
    sha256: str | None = None  # of the file or of the archive; as declared, to be verified
    key: str | None = None  # object, staged: where the file is; it has one part, which is all of it
    remote: RemoteSource | None = None  # remote: where the file is


class StreamProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the extractor is with one stream. Not an event: it goes by plain NATS, and may get lost."""

    upload_id: str
    stream_id: str
    parts_known: int  # parts that the extractor knows to be stored
    parts_done: int
    members: int
    bytes_out: int


class ObjectsRead(msgspec.Struct, frozen=True, kw_only=True):
    """Objects that somebody has read. Not an event: it goes by plain NATS, and may get lost."""

    keys: list[str]


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model, and the object that holds its bytes."""

    path: str  # relative, POSIX, NFC as received
    size_bytes: int
    sha256: str  # lower-case hex
    key: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a check has to say: what is wrong, where, and what to do about it."""

    rule: str  # stable, kebab-case: "tar-symlink", "safetensors-hole"
    severity: Severity
    message: str  # what was found
    fix: str  # what the user should do
    file: str | None = None
    offset_bytes: int | None = None

    def sentence(self) -> str:
        """The finding as one line of text for an error message."""
        where = f"{self.file}: " if self.file else ""
        return f"{where}{self.message} {self.fix}".strip()


class ValidationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is to be checked, where its client wants it otherwise; none makes it deployable that is not."""

    config_only: bool = False  # no weights are expected
    skip_config: bool = False  # what is wrong with its configuration is only warned of
    trust_remote_code: bool = False  # code of the model's own is not warned of


class MemoryNeed(msgspec.Struct, frozen=True, kw_only=True):
    """What serving the model takes."""

    weights_bytes: int
    kv_bytes_per_token: int | None = None  # None where the configuration does not say
    smallest_gpu: str | None = None  # with room for the weights and one sequence of full context; None if there is none


class ModelProperties(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of a model, each a column of the registry too; docs/recipes/metadata-field.md adds one."""

    format: str | None = None  # safetensors, pytorch, gguf, exl2
    architecture: str | None = None
    quantization: str | None = None  # vLLM's name; "native" for none
    context_length: int | None = None  # tokens
    parameter_count: int | None = None  # from tensor shapes; tied weights once, as stored
    hidden_size: int | None = None
    num_layers: int | None = None
    vocab_size: int | None = None
    dtype: str | None = None  # safetensors' name of the type that holds most parameters, e.g. BF16


class ModelMetadata(ModelProperties, frozen=True, kw_only=True):
    """What the headers tell of a model; None where they do not tell."""

    workload_type: WorkloadType = "chat"
    license: str | None = None
    memory: MemoryNeed | None = None
    deployable: bool = True
    deployable_reason: str | None = None  # why not, where not


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The validator's verdict on one model."""

    findings: list[Finding]
    metadata: ModelMetadata
    files_read: int
    bytes_read: int  # headers and small files; the weights are not read
    validator: str  # name and version of the rules, e.g. "slipway 0.1.0, vLLM 0.32.0"

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)
