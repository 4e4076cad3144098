"""Environment -> one frozen Struct; fails at start and names the variable.

A field `nats_url` is read from `SLIPWAY_NATS_URL`. The Struct's type converts it, its default makes it optional.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

PREFIX = "SLIPWAY_"
DAY_S = 86_400

T = TypeVar("T", bound=msgspec.Struct)

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
CountOrNone = Annotated[int, msgspec.Meta(ge=0)]  # 0: no limit
Seconds = Annotated[float, msgspec.Meta(gt=0)]
SecondsOrNone = Annotated[float, msgspec.Meta(ge=0)]  # 0: not at all


class ConfigError(SystemExit):
    """A setting is missing or wrong. Ends the process with a message that names the variable."""


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of every service: the URLs of its dependencies, and where it listens."""

    database_url: str  # postgresql://user:password@host:port/database; may be a pooler, if the next is set
    database_direct_url: str | None = None  # to Postgres itself, for LISTEN and migrations
    database_prepared: bool = False  # whether that pooler keeps prepared statements (pgbouncer 1.21 and later can)
    nats_url: str  # nats://host:port[,host:port…]
    s3_url: str  # http(s)://ACCESS_KEY:SECRET_KEY@host:port/bucket[?region=us-east-1]
    s3_cold_url: str | None = None  # of the same form: the bucket for what is not read; the same for all services
    namespace: str = ""  # prefix of streams, consumers and schemas, where installations share NATS and Postgres
    nats_events_bytes: CountOrNone = 2 * 1024**3  # of the stream of events, at most; 0: no limit. Then the oldest go
    nats_dead_bytes: CountOrNone = 256 * 1024**2  # the same of the stream of dead letters
    http_host: str = "0.0.0.0"  # noqa: S104  # the address to listen on; a service listens to its cluster
    http_port: Port = 8080  # API (gateway), /livez, /readyz, /metrics (all)
    nats_replicas: Count = 1  # of each stream; an existing stream is raised to it, never lowered
    db_pool_size: Count = 10  # connections to Postgres of one process, beside one that listens
    s3_uploads: Count = 128  # connections to the store of one process at a time, for bodies that are sent to it
    s3_downloads: Count = 128  # the same, for bodies that are read from it
    s3_calls: Count = 64  # the same, for requests without a body
    unready_s: SecondsOrNone = 2  # after SIGTERM, still accept for this long: until load balancers have seen /readyz
    drain_s: Seconds = 30  # then, for what is under way to end by itself; below the orchestrator's grace period
    log_level: str = "info"  # debug, info, warning or error


def load(config_type: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Read `config_type` from the environment.

    Raises: ConfigError, naming every variable that is missing or wrong, and what it should be.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in msgspec.structs.fields(config_type):
        variable = PREFIX + field.name.upper()
        raw = environ.get(variable)
        if raw is None:
            if field.required:
                problems.append(f"{variable} is not set")
            continue
        try:
            values[field.name] = msgspec.convert(raw, field.type, strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{variable}: {error}")
    if problems:
        raise ConfigError("configuration: " + "; ".join(problems))
    return config_type(**values)


def schema_name(namespace: str, service: str) -> str:
    """The Postgres schema that `service` owns."""
    return f"{namespace}_{service}" if namespace else service
