"""The view of a model that rules and metadata are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from libs.modelfiles import gguf, hfconfig, index, mistral, quantization, safetensors, vllm, weights
from libs.modelfiles.hfconfig import Json, ModelConfig
from libs.modelfiles.index import Index
from libs.modelfiles.quantization import Quantization
from libs.modelfiles.statedict import Stored
from libs.modelfiles.tensors import Tensor
from libs.modelfiles.torchfile import PickleScan
from libs.modelfiles.unreadable import Unreadable
from libs.modelfiles.vllm import Resolved
from libs.modelfiles.weights import Selection


@dataclass(frozen=True)
class Model:
    """What was read of a model's files, by path, and what follows from it. Read-only; nothing here does I/O."""

    sizes: Mapping[str, int]  # bytes, of every file
    documents: Mapping[str, bytes]  # the beginning of small files
    headers: Mapping[str, safetensors.Header]
    ggufs: Mapping[str, gguf.Header]
    pickles: Mapping[str, PickleScan]
    unreadable: Mapping[str, Unreadable]  # files that do not follow their format

    @cached_property
    def selection(self) -> Selection:
        """The files that vLLM would take for weights and configuration."""
        return weights.select(self.sizes)

    @property
    def index(self) -> Index | None:
        """The index that goes with the weights; None if there is none, or it is unreadable."""
        return self._index[0]

    @property
    def index_error(self) -> Unreadable | None:
        """Why the index is unreadable."""
        return self._index[1]

    @property
    def config(self) -> ModelConfig | None:
        """The configuration; None if there is none, or it is unreadable."""
        return self._config[0]

    @property
    def config_error(self) -> Unreadable | None:
        """Why the configuration is unreadable."""
        return self._config[1]

    @cached_property
    def resolved(self) -> Resolved | None:
        """The architecture that vLLM would run; None if it knows none of those in the configuration."""
        return vllm.resolve(self.config.architectures) if self.config else None

    @cached_property
    def quantization(self) -> Quantization:
        """How the weights are quantized."""
        if self.config is None:
            return Quantization(vllm.NATIVE)
        return quantization.of(self.config, self._json_object(quantization.HF_QUANT_CONFIG))

    @cached_property
    def loaded(self) -> Sequence[str]:
        """The files of weights that vLLM would open: all that it selects, or of safetensors those in the index."""
        if self.index is None or self.selection.format != "safetensors":
            return self.selection.files
        listed = set(self.index.weight_map.values())
        return [path for path in self.selection.files if path in listed]

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors of the loaded files, by name; of names that share one storage only the first."""
        tensors: dict[str, Tensor] = {}
        for path in self.loaded:
            if path in self.headers:
                tensors |= self.headers[path].tensors
            elif path in self.pickles and (stored := self.pickles[path].tensors):
                tensors |= _untied(stored)
        return tensors

    @cached_property
    def _index(self) -> tuple[Index | None, Unreadable | None]:
        name = self.selection.index
        if name is None or name not in self.documents:
            return None, None
        try:
            return self._read_index(name), None
        except Unreadable as error:
            return None, error

    def _read_index(self, name: str) -> Index:
        raw = self.documents[name]
        if len(raw) < self.sizes[name]:
            raise Unreadable(
                "index-too-large",
                f"The index has {self.sizes[name]:,} bytes; {index.MAX_INDEX_BYTES:,} are read.",
                "Write the model in fewer, larger tensors.",
            )
        return index.parse(raw, name)

    @cached_property
    def _config(self) -> tuple[ModelConfig | None, Unreadable | None]:
        name = self.selection.config
        if name not in self.documents:
            return None, None
        try:
            config = self._read_config(name)
            _ = config.architectures  # raises if it is not a list of names
        except Unreadable as error:
            return None, error
        return config, None

    def _read_config(self, name: str) -> ModelConfig:
        raw = self.documents[name]
        if len(raw) < self.sizes[name]:
            raise Unreadable(
                "config-too-large",
                f"{name} has {self.sizes[name]:,} bytes; {hfconfig.MAX_CONFIG_BYTES:,} are read.",
                "Upload the configuration alone; weights and vocabularies have files of their own.",
            )
        return mistral.parse(raw, name) if name == weights.MISTRAL_CONFIG else hfconfig.parse(raw, name)

    def _json_object(self, path: str) -> Json | None:
        """The JSON object in the file at `path`; None if there is none, or it is unreadable."""
        if path not in self.documents:
            return None
        try:
            return hfconfig.parse_object(self.documents[path], "config-json", path)
        except Unreadable:
            return None


def _untied(stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    once: dict[tuple[str, tuple[int, ...]], str] = {}
    for name, item in stored.items():
        once.setdefault((item.storage.key, item.tensor.shape), name)
    return {name: stored[name].tensor for name in once.values()}
