"""The GPU memory that serving a model takes: for its weights, and for the KV cache of a sequence."""

from __future__ import annotations

from libs.contracts import MemoryNeed
from libs.modelfiles.hfconfig import ModelConfig

GIB = 1024**3

# GPUs in wide use by their memory, GiB
_GPUS = (
    ("T4", 16), ("L4", 24), ("RTX 5090", 32), ("A100 40GB", 40), ("L40S", 48), ("H100", 80), ("H200", 141),
    ("B200", 180), ("MI300X", 192), ("B300", 288),
)  # fmt: skip
_USABLE = 0.9  # vLLM's gpu_memory_utilization
_WORKSPACE_BYTES = GIB  # activations, CUDA graphs

_DTYPE_BYTES = {"float32": 4, "float": 4, "float64": 8, "double": 8}
_CACHELESS_LAYERS = frozenset({"linear_attention", "mamba", "mamba2", "recurrent", "moe", "mlp"})


def need(weights_bytes: int, config: ModelConfig | None, *, generates: bool) -> MemoryNeed:
    """Return the memory for `weights_bytes` of weights and one sequence of full context.

    A model that does not generate keeps no KV cache.
    """
    per_token = kv_bytes_per_token(config) if config and generates else None
    cache = (per_token or 0) * (config.context_length or 0) if config else 0
    wanted = weights_bytes + cache + _WORKSPACE_BYTES
    fitting = (name for name, gib in _GPUS if wanted <= gib * GIB * _USABLE)
    return MemoryNeed(weights_bytes=weights_bytes, kv_bytes_per_token=per_token, smallest_gpu=next(fitting, None))


def kv_bytes_per_token(config: ModelConfig) -> int | None:
    """Return the bytes of KV cache for one token over all layers; None where the configuration does not say.

    They have the type of the weights. Layers of sliding attention count in full, which is right until a sequence
    outgrows their window.
    """
    values, layers = config.kv_values_per_layer, config.num_layers
    if values is None or layers is None:
        return None
    kinds = config.text.get("layer_types")
    if isinstance(kinds, list) and kinds:
        layers = sum(kind not in _CACHELESS_LAYERS for kind in kinds)
    return values * layers * _DTYPE_BYTES.get(config.dtype or "", 2)
