"""The rules: functions `check(model) -> Iterable[Finding]` that look at a view of the model and do no I/O.

A finding of severity "error" rejects the model. docs/recipes/validation-rule.md says how to add a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from libs.contracts import Finding
from services.validator.model import Model
from services.validator.rules import configuration, pickles, shapes, shards, tokenizer, weights

Rule = Callable[[Model], Iterable[Finding]]

RULES: tuple[Rule, ...] = (  # in the order in which findings of one severity are listed
    shards.check_index_is_readable,
    configuration.check_config_is_readable,
    weights.check_required_files,
    weights.check_files_are_readable,
    shards.check_shards,
    weights.check_tensors_occur_once,
    pickles.check_pickles,
    tokenizer.check_vocabulary,
    configuration.check_architecture,
    configuration.check_model_type,
    configuration.check_quantization,
    configuration.check_small_files,
    shapes.check_shapes,
)
