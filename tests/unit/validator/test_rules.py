"""Every rule once, on a model that is otherwise in order: what was changed, what is found, how grave it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from libs.contracts import Finding, Severity
from libs.contracts.limits import MAX_FINDINGS
from services.validator import rules
from services.validator.report import bounded
from tests.support.ggufs import given_gguf
from tests.support.models import (
    Files,
    Tensors,
    encoded,
    given_llama,
    given_pytorch_llama,
    in_shards,
    llama_tensors,
    without,
)
from tests.support.torchfiles import calling, state_dict, torch_zip
from tests.unit.validator.harness import reported

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
EMBEDDING = "model.embed_tokens.weight"
EVIL = calling("os", "system", "id")


def reindexed(change: Callable[[dict[str, object], dict[str, str]], object]) -> Files:
    """A Llama in two shards with a changed index: `change(whole, weight_map)`."""
    files = given_llama(shards=2)
    index = json.loads(files["model.safetensors.index.json"])
    change(index, index["weight_map"])
    return files | {"model.safetensors.index.json": encoded(index)}


def mistral_tensors() -> Tensors:
    """The embedding by Mistral's own name, which vLLM knows too."""
    return {"tok_embeddings.weight": llama_tensors()[EMBEDDING]}


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

IN_ORDER: dict[str, Files] = {
    "one file": given_llama(),
    "shards with an index": given_llama(shards=3),
    "shards without an index": without(given_llama(shards=3), "model.safetensors.index.json"),
    "pickled weights": given_pytorch_llama(),
    "what training leaves": given_llama() | {"optimizer.pt": torch_zip(b"\x80\x02}q\x00.")},
    "awq": given_llama(quantization_config={"quant_method": "awq", "bits": 4}),
    "an architecture that follows from the model type": given_llama(architectures=None, model_type="llama"),
    "folders beside": given_llama() | {"1_Pooling/config.json": b"{}", "onnx/model.onnx": bytes(99_999)},
    "raw weights of another runtime": given_llama() | {"openvino/openvino_model.bin": bytes(range(200, 256)) * 99},
    "an empty file": given_llama() | {"__init__.py": b""},
    "Mistral's own format": without(given_llama(), "model.safetensors", "config.json") | {
        "params.json": encoded({"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 256}),
        "consolidated.safetensors": in_shards(mistral_tensors(), 1)["model.safetensors"],
    },
}  # fmt: skip


@pytest.mark.parametrize("case", IN_ORDER)
async def test_a_model_in_order_has_no_finding(case: str) -> None:
    report = await reported(IN_ORDER[case])
    assert report.findings == []
    assert report.passed
    assert report.metadata.deployable


# What was changed, the rule, its severity, the file, words of the message
FOUND: dict[str, tuple[Files, str, str, str | None, str]] = {
    "no config": (without(given_llama(), "config.json"), "config-missing", "error", None, "config.json is missing"),
    "no weights": (without(given_llama(), "model.safetensors"), "weights-missing", "error", None, "no model weights"),
    "config is no JSON": (given_llama() | {"config.json": b"{"}, "config-json", "error", "config.json", "line 1"),
    "config is a list": (given_llama() | {"config.json": b"[]"}, "config-json", "error", "config.json", "list"),
    "config is a pointer of Git LFS": (
        given_llama() | {"config.json": LFS}, "lfs-pointer", "error", "config.json", "Git LFS",
    ),
    "weights are a pointer of Git LFS": (
        given_llama() | {"model.safetensors": LFS}, "lfs-pointer", "error", "model.safetensors", "Git LFS",
    ),
    "a picture is a pointer of Git LFS": (
        given_llama() | {"images/cat.png": LFS}, "lfs-pointer", "warning", "images/cat.png", "Git LFS",
    ),
    "architectures is a name": (
        given_llama(architectures="LlamaForCausalLM"), "config-architectures", "error", "config.json", "not a list",
    ),
    "no architecture": (
        given_llama(architectures=None, model_type=None), "architecture-missing", "error", "config.json", "names no",
    ),
    "an unknown architecture": (
        given_llama(architectures=["MyForCausalLM"]), "architecture-unknown", "error", "config.json", "MyForCausalLM",
    ),
    "an architecture of remote code": (
        given_llama(architectures=["MyForCausalLM"], auto_map={"AutoModel": "m.M"}),
        "architecture-unknown", "error", "config.json", "never run here",
    ),
    "code that is not needed": (
        given_llama(auto_map={"AutoConfig": "c.C"}), "remote-code", "warning", "config.json", "auto_map",
    ),
    "an architecture of Transformers": (
        given_llama(architectures=["DiffLlamaForCausalLM"], model_type="diffllama"),
        "architecture-transformers", "info", "config.json", "through Transformers",
    ),
    "no model type": (given_llama(model_type=None), "model-type-unknown", "warning", "config.json", "no model_type"),
    "an unknown model type": (given_llama(model_type="lama"), "model-type-unknown", "warning", "config.json", "'lama'"),
    "an unknown quantization": (
        given_llama(quantization_config={"quant_method": "magic"}),
        "quantization-unknown", "error", "config.json", "'magic'",
    ),
    "squeezellm": (
        given_llama(quantization_config={"quant_method": "squeezellm"}),
        "quantization-legacy", "warning", "config.json", "no longer loads squeezellm",
    ),
    "a deprecated quantization": (
        given_llama(quantization_config={"quant_method": "fbgemm_fp8"}),
        "quantization-deprecated", "warning", "config.json", "--allow-deprecated-quantization",
    ),
    "tokenizer_config is no JSON": (
        given_llama() | {"tokenizer_config.json": b"{,}"}, "config-json", "error", "tokenizer_config.json", "not JSON",
    ),
    "no tokenizer": (
        without(given_llama(), "tokenizer.json", "tokenizer_config.json"),
        "tokenizer-missing", "warning", None, "no tokenizer",
    ),
    "vocabulary of another model": (
        given_llama(vocab_size=1000), "config-weights-mismatch", "warning", "config.json", "[256, 128]",
    ),
    "more layers than weights": (
        given_llama(num_hidden_layers=4), "config-weights-mismatch", "warning", "config.json", "2 of 4 layers",
    ),
    "weights cut short": (
        given_llama() | {"model.safetensors": given_llama()["model.safetensors"][:-1]},
        "safetensors-truncated", "error", "model.safetensors", "ends 1 bytes early",
    ),
    "an unused file cut short": (
        given_llama(shards=2) | {"extra.safetensors": given_llama()["model.safetensors"][:-1]},
        "safetensors-truncated", "warning", "extra.safetensors", "ends 1 bytes early",
    ),
    "a shard missing": (
        without(given_llama(shards=2), SECOND),
        "index-shard-missing", "error", "model.safetensors.index.json", f"{SECOND} is missing",
    ),
    "a shard missing, no index": (
        without(given_llama(shards=2), SECOND, "model.safetensors.index.json"), "shard-missing", "error", None, SECOND,
    ),
    "a shard that is not listed": (
        given_llama(shards=2) | {"model.safetensors": given_llama()["model.safetensors"]},
        "index-shard-unlisted", "warning", "model.safetensors.index.json", "vLLM ignores it",
    ),
    "an index that is no JSON": (
        given_llama(shards=2) | {"model.safetensors.index.json": b"{"},
        "index-json", "error", "model.safetensors.index.json", "not JSON",
    ),
    "an index that leads out of the folder": (
        reindexed(lambda _, weight_map: weight_map.update({EMBEDDING: "../x"})),
        "index-shard-name", "error", "model.safetensors.index.json", "not a plain file name",
    ),
    "an index that names what is not there": (
        reindexed(lambda _, weight_map: weight_map.update(ghost=FIRST)),
        "index-tensor-missing", "error", "model.safetensors.index.json", "ghost",
    ),
    "an index that names the other shard": (
        reindexed(lambda _, weight_map: weight_map.update({EMBEDDING: SECOND})),
        "index-tensor-misplaced", "warning", "model.safetensors.index.json", EMBEDDING,
    ),
    "an index that leaves a tensor out": (
        reindexed(lambda _, weight_map: weight_map.pop(EMBEDDING)),
        "index-tensor-unnamed", "warning", "model.safetensors.index.json", EMBEDDING,
    ),
    "an index with another size": (
        reindexed(lambda whole, _: whole.update(metadata={"total_size": 1})),
        "index-total-size", "warning", "model.safetensors.index.json", "says 1 bytes",
    ),
    "one tensor in two shards": (
        given_llama(shards=2) | {SECOND: in_shards(llama_tensors(), 1)["model.safetensors"]},
        "index-tensor-duplicate", "error", "model.safetensors.index.json", "in two shards",
    ),
    "one tensor in two files": (
        given_llama() | {"copy.safetensors": given_llama()["model.safetensors"]},
        "weights-repeated", "warning", None, "more than one file",
    ),
    "a pickle that runs code": (
        given_pytorch_llama(torch_zip(EVIL)), "pickle-dangerous", "error", "pytorch_model.bin", "os.system",
    ),
    "code in a file that vLLM ignores": (
        given_llama() | {"training_args.bin": torch_zip(EVIL)},
        "pickle-dangerous", "error", "training_args.bin", "os.system",
    ),
    "code under a harmless name": (
        given_llama() | {"notes.txt": EVIL}, "pickle-dangerous", "error", "notes.txt", "os.system",
    ),
    "code in the name of safetensors": (
        given_llama(shards=2) | {"extra.safetensors": torch_zip(EVIL)},
        "pickle-dangerous", "error", "extra.safetensors", "os.system",
    ),
    "an import that torch does not allow": (
        given_pytorch_llama(torch_zip(calling("my.module", "Thing", "x"))),
        "pickle-unknown-import", "error", "pytorch_model.bin", "my.module.Thing",
    ),
    "such an import where vLLM ignores it": (
        given_llama() | {"training_args.bin": torch_zip(calling("transformers", "TrainingArguments", "x"))},
        "pickle-unknown-import", "warning", "training_args.bin", "TrainingArguments",
    ),
    "weights that cannot be scanned": (
        given_pytorch_llama(b"\x80\x02}q\x00(X\xff"), "pickle-unfinished", "error", "pytorch_model.bin", "breaks off",
    ),
    "another pickle that cannot be scanned": (
        given_llama() | {"optimizer.pt": b"\x80\x02}q\x00(X\xff"},
        "pickle-unfinished", "warning", "optimizer.pt", "breaks off",
    ),
    "weights that are no torch file": (
        given_pytorch_llama(b"\x80\x02}q\x00."),
        "pytorch-unloadable", "error", "pytorch_model.bin", "neither a zip archive",
    ),
    "weights that are no state dict": (
        given_pytorch_llama(torch_zip(b"\x80\x02]q\x00.")),
        "pytorch-unloadable", "error", "pytorch_model.bin", "not a state dict",
    ),
    "weights without their bytes": (
        given_pytorch_llama(torch_zip(state_dict({"a": (2,)}))),
        "pytorch-unloadable", "error", "pytorch_model.bin", "not in it",
    ),
    "a pickle under another name": (
        given_llama() | {"notes.txt": torch_zip(b"\x80\x02}q\x00.")},
        "pickle-disguised", "warning", "notes.txt", "under another name",
    ),
    "GGUF cut short": (
        {"model.gguf": given_gguf()[:-1]}, "gguf-truncated", "error", "model.gguf", "The tensors need",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
async def test_finds(case: str) -> None:
    files, rule, severity, file, told = FOUND[case]
    report = await reported(files)
    matching = [finding for finding in report.findings if (finding.rule, finding.file) == (rule, file)]
    assert matching, report.findings
    finding = matching[0]
    assert finding.severity == severity
    assert told in finding.message
    assert finding.fix
    assert report.passed == (not any(found.severity == "error" for found in report.findings))
    if severity != "error":
        assert report.passed, report.findings


@pytest.mark.parametrize("module", sorted(Path(rules.__file__).parent.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_rule_of_a_module_is_applied(module: Path) -> None:
    applied = {rule.__name__ for rule in rules.RULES if rule.__module__ == f"{rules.__name__}.{module.stem}"}
    for name in re.findall(r"^def (check_\w+)\(", module.read_text(), re.MULTILINE):
        assert name in applied, f"services/validator/rules/__init__.py: RULES lacks {module.stem}.{name}"


async def test_every_error_is_told_at_once() -> None:
    files = given_llama(architectures=["Nobodys"], quantization_config={"quant_method": "magic"})
    files |= {"model.safetensors": b"", "tokenizer_config.json": b"{"}
    rules = {finding.rule for finding in (await reported(files)).findings}
    assert rules >= {"architecture-unknown", "quantization-unknown", "safetensors-truncated", "config-json"}


@pytest.mark.parametrize("letter", ["m", "ü", "\N{GRINNING FACE}", "\1", "\0", "\ud800"])
def test_findings_fit_into_an_event_however_much_is_wrong(letter: str) -> None:
    """A thousand findings with messages of a hundred thousand characters, some of six bytes each in JSON."""
    text = letter * 100_000
    kinds: tuple[Severity, ...] = ("warning", "error")
    flood = [Finding(rule="r", severity=kinds[number % 2], message=text, fix=text, file=text) for number in range(1000)]
    kept = bounded(flood)
    assert len(msgspec.json.encode(kept)) < 700_000
    assert len(kept) <= MAX_FINDINGS + 1
    assert {finding.severity for finding in kept} == {"error"}
    assert "\0" not in kept[0].message  # which jsonb would refuse
    assert kept[-1].rule == "more-findings"
    assert kept[-1].message == f"There are {1000 - len(kept) + 1:,} findings more like these."


async def test_names_that_no_database_takes_are_spelled_out() -> None:
    """A tensor's name may hold NUL and, in an index, half of a surrogate pair."""
    files = reindexed(lambda _, weight_map: weight_map.update({"a\0b": FIRST, "\ud800": FIRST}))
    [finding] = [finding for finding in (await reported(files)).findings if finding.severity == "error"]
    assert "a\\0b" in finding.message
    assert "\\ud800" in finding.message


async def test_what_only_an_attacker_writes_does_not_reach_the_registry() -> None:
    files = given_llama(
        architectures=["X" * 10**6], model_type="y" * 10**6, max_position_embeddings=1e300, vocab_size=10**30,
        num_key_value_heads=2**50, head_dim=2**50, num_hidden_layers=2**50,
    )  # fmt: skip
    metadata = (await reported(files)).metadata
    assert (metadata.context_length, metadata.vocab_size) == (None, 256)
    assert metadata.memory is not None
    assert metadata.memory.kv_bytes_per_token is None
    assert len(msgspec.json.encode(metadata)) < 4000
