"""Every rule once, on a model that is otherwise in order: what was changed, what is found, how grave it is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from libs.contracts import Finding
from services.validator.judging import MAX_FINDINGS, bounded
from tests.support.ggufs import given_gguf
from tests.support.models import LLAMA_CONFIG, Files, Tensors, encoded, given_llama, in_shards, llama_tensors
from tests.support.torchfiles import calling, given_torch, state_dict, torch_zip
from tests.unit.validator.memory import judged

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
EMBEDDING = "model.embed_tokens.weight"
EVIL = calling("os", "system", "id")


def without(files: Files, *paths: str) -> Files:
    return {path: content for path, content in files.items() if path not in paths}


def as_pytorch(weights: bytes, **config: object) -> Files:
    """A Llama whose weights are `weights`, as pytorch_model.bin."""
    return without(given_llama(**config), "model.safetensors") | {"pytorch_model.bin": weights}


def llama_torch() -> bytes:
    return given_torch({name: tensor.shape for name, tensor in llama_tensors().items()})


def reindexed(change: Callable[[dict[str, object], dict[str, str]], None]) -> Files:
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
    "pickled weights": as_pytorch(llama_torch()),
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
    report = await judged(IN_ORDER[case])
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
        as_pytorch(torch_zip(EVIL)), "pickle-dangerous", "error", "pytorch_model.bin", "os.system",
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
        as_pytorch(torch_zip(calling("my.module", "Thing", "x"))),
        "pickle-unknown-import", "error", "pytorch_model.bin", "my.module.Thing",
    ),
    "such an import where vLLM ignores it": (
        given_llama() | {"training_args.bin": torch_zip(calling("transformers", "TrainingArguments", "x"))},
        "pickle-unknown-import", "warning", "training_args.bin", "TrainingArguments",
    ),
    "weights that cannot be scanned": (
        as_pytorch(b"\x80\x02}q\x00(X\xff"), "pickle-unfinished", "error", "pytorch_model.bin", "breaks off",
    ),
    "another pickle that cannot be scanned": (
        given_llama() | {"optimizer.pt": b"\x80\x02}q\x00(X\xff"},
        "pickle-unfinished", "warning", "optimizer.pt", "breaks off",
    ),
    "weights that are no torch file": (
        as_pytorch(b"\x80\x02}q\x00."), "pytorch-unloadable", "error", "pytorch_model.bin", "neither a zip archive",
    ),
    "weights that are no state dict": (
        as_pytorch(torch_zip(b"\x80\x02]q\x00.")),
        "pytorch-unloadable", "error", "pytorch_model.bin", "not a state dict",
    ),
    "weights without their bytes": (
        as_pytorch(torch_zip(state_dict({"a": (2,)}))), "pytorch-unloadable", "error", "pytorch_model.bin", "not in it",
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
    report = await judged(files)
    matching = [finding for finding in report.findings if (finding.rule, finding.file) == (rule, file)]
    assert matching, report.findings
    finding = matching[0]
    assert finding.severity == severity
    assert told in finding.message
    assert finding.fix
    assert report.passed == (not any(found.severity == "error" for found in report.findings))
    if severity != "error":
        assert report.passed, report.findings


UNDEPLOYABLE: dict[str, tuple[Files, str]] = {
    "gguf": ({"model.gguf": given_gguf()}, "does not load GGUF"),
    "exl2 files": (
        without(given_llama(), "model.safetensors") | {"output.exl2": b"exl2"}, "does not load exl2",
    ),
    "exl2 in safetensors": (given_llama(quantization_config={"quant_method": "exl2"}), "does not load exl2"),
    "squeezellm": (given_llama(quantization_config={"quant_method": "squeezellm"}), "does not load squeezellm"),
    "a draft model": (given_llama(architectures=["EagleLlamaForCausalLM"]), "speculative decoding"),
    "no model type": (given_llama(model_type=None), "no model_type"),
    "more layers than weights": (given_llama(num_hidden_layers=4), "2 of 4 layers"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDEPLOYABLE)
async def test_is_accepted_but_not_deployable(case: str) -> None:
    files, reason = UNDEPLOYABLE[case]
    report = await judged(files)
    assert report.passed, report.findings
    assert not report.metadata.deployable
    assert reason in (report.metadata.deployable_reason or "")


async def test_a_rejected_model_is_not_deployable_and_says_why() -> None:
    report = await judged(without(given_llama(shards=2), SECOND))
    assert not report.metadata.deployable
    assert report.metadata.deployable_reason == f"{SECOND} is missing."


async def test_every_error_is_told_at_once() -> None:
    files = given_llama(architectures=["Nobodys"], quantization_config={"quant_method": "magic"})
    files |= {"model.safetensors": b"", "tokenizer_config.json": b"{"}
    rules = {finding.rule for finding in (await judged(files)).findings}
    assert rules >= {"architecture-unknown", "quantization-unknown", "safetensors-truncated", "config-json"}


async def test_metadata_of_a_model_whose_config_tells_little() -> None:
    """Sizes that config.json leaves to its class's defaults are taken from the tensors."""
    files = given_llama() | {"config.json": encoded({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})}
    metadata = (await judged(files)).metadata
    assert (metadata.hidden_size, metadata.num_layers, metadata.vocab_size) == (128, 2, 256)
    assert metadata.context_length is None


async def test_metadata_of_a_small_llama() -> None:
    metadata = (await judged(given_llama(shards=2))).metadata
    assert metadata.format == "safetensors"
    assert metadata.architecture == "LlamaForCausalLM"
    assert metadata.quantization == "native"
    assert metadata.context_length == LLAMA_CONFIG["max_position_embeddings"]
    assert metadata.parameter_count == sum(tensor.size for tensor in llama_tensors().values())
    assert (metadata.hidden_size, metadata.num_layers, metadata.vocab_size) == (128, 2, 256)
    assert (metadata.dtype, metadata.workload_type, metadata.license) == ("F16", "chat", "apache-2.0")
    assert metadata.memory is not None
    assert metadata.memory.kv_bytes_per_token == 2 * 2 * 2 * 32 * 2  # keys and values, layers, heads, size, bytes


async def test_metadata_of_pickled_weights_and_of_gguf() -> None:
    pickled = (await judged(as_pytorch(llama_torch()))).metadata
    assert (pickled.format, pickled.dtype) == ("pytorch", "F32")
    assert pickled.parameter_count == sum(tensor.size for tensor in llama_tensors().values())
    gguf = (await judged({"model.gguf": given_gguf()})).metadata
    assert (gguf.format, gguf.architecture, gguf.quantization) == ("gguf", "llama", "gguf")
    assert (gguf.parameter_count, gguf.context_length, gguf.vocab_size) == (128, 512, 3)


def test_a_report_fits_into_an_event_however_much_is_wrong() -> None:
    """A thousand findings with messages of a megabyte; the event stays below what NATS takes."""
    flood = [
        Finding(
            rule="r",
            severity="warning" if number % 2 else "error",
            message="m" * 10**6,
            fix="f" * 9999,
            file="p" * 9999,
        )
        for number in range(1000)
    ]
    kept = bounded(flood)
    assert len(kept) == MAX_FINDINGS + 1
    assert {finding.severity for finding in kept[:MAX_FINDINGS]} == {"error"}
    assert kept[-1].message == "There are 800 findings more like these."
    assert kept[-1].severity == "error"
    assert sum(len(finding.message) + len(finding.fix) + len(finding.file or "") for finding in kept) < 700_000
