"""What clients may have checked less strictly, and what stays as it is: whether vLLM could serve the model."""

from __future__ import annotations

from libs.contracts import Report, ValidationOptions
from tests.support.models import Files, given_llama, without
from tests.unit.validator.harness import reported

OWN_CODE = {"AutoModelForCausalLM": "modeling.Model"}


def rules(report: Report, severity: str) -> set[str]:
    return {finding.rule for finding in report.findings if finding.severity == severity}


async def test_a_configuration_alone_passes_and_is_not_deployable() -> None:
    files = without(given_llama(shards=2), "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert not (await reported(files)).passed
    report = await reported(files, ValidationOptions(config_only=True))
    assert report.passed
    assert rules(report, "info") == {"config-only"}
    assert report.metadata.architecture == "LlamaForCausalLM"
    assert report.metadata.deployable is False
    assert report.metadata.deployable_reason


async def test_weights_that_are_there_are_checked_all_the_same() -> None:
    """One of two shards is no configuration alone."""
    files = without(given_llama(shards=2), "model-00002-of-00002.safetensors")
    assert not (await reported(files, ValidationOptions(config_only=True))).passed


async def test_a_model_without_a_configuration_is_none() -> None:
    files = without(given_llama(), "config.json")
    options = ValidationOptions(config_only=True, skip_config=True, trust_remote_code=True)
    assert not (await reported(files, options)).passed


async def test_what_is_wrong_with_the_configuration_is_only_warned_of() -> None:
    """But vLLM could not serve it."""
    for files, rule in (
        (given_llama(architectures=["NobodysForCausalLM"]), "architecture-unknown"),
        (given_llama(quantization_config={"quant_method": "nobodys"}), "quantization-unknown"),
        (given_llama() | {"config.json": b"{"}, "config-json"),
    ):
        assert rule in rules(await reported(files), "error")
        report = await reported(files, ValidationOptions(skip_config=True))
        assert report.passed
        assert rule in rules(report, "warning")
        assert report.metadata.deployable is False


async def test_broken_weights_are_no_matter_of_the_configuration() -> None:
    files = given_llama()
    files["model.safetensors"] = files["model.safetensors"][:-1]
    options = ValidationOptions(config_only=True, skip_config=True, trust_remote_code=True)
    assert not (await reported(files, options)).passed


async def test_code_of_the_models_own_is_trusted() -> None:
    """It is not warned of where vLLM needs none of it; where it would, the model passes and is not deployed."""
    trusted = ValidationOptions(trust_remote_code=True)
    needless: Files = given_llama(auto_map=OWN_CODE)
    assert "remote-code" in rules(await reported(needless), "warning")
    report = await reported(needless, trusted)
    assert rules(report, "warning") == set()
    assert report.metadata.deployable
    needed = given_llama(architectures=["NobodysForCausalLM"], auto_map=OWN_CODE)
    assert not (await reported(needed)).passed
    report = await reported(needed, trusted)
    assert report.passed
    assert report.metadata.deployable is False
