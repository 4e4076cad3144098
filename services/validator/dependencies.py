"""What the validator's parts are given."""

from __future__ import annotations

from dataclasses import dataclass

from libs.db import Pool
from libs.signals import Signals
from services.validator.config import ValidatorConfig
from services.validator.reader import ModelReader


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The validator's clients and settings."""

    config: ValidatorConfig
    pool: Pool
    signals: Signals
    reader: ModelReader
