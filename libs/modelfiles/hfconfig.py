"""config.json (and Mistral's params.json) as vLLM reads them.

Sources: vllm/transformers_utils/config.py, model_arch_config_convertor.py and configs/mistral.py. Authors write
anything into a configuration: every value is checked for its type where it is used; None means that there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

import msgspec

from libs.modelfiles import vllm
from libs.modelfiles.unreadable import Unreadable

MAX_CONFIG_BYTES = 16 * 1024 * 1024

Json = Mapping[str, object]

# The part of a composed model that generates text
_TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder", "text_encoder")

# Names that families of models have for the same thing: Transformers, GPT-2, T5, Mistral
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim", "model_dim", "n_embed")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_KV_HEADS = (
    "n_head_kv",
    "num_kv_heads",
    "num_key_value_heads",
    "multi_query_group_num",
    "num_attention_groups",
    "n_kv_heads",
)
_VOCAB = ("vocab_size", "padded_vocab_size")
_CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# Types of RoPE scaling whose max_position_embeddings is already scaled
_ROPE_SCALED = frozenset(
    {"su", "longrope", "llama3", "yarn", "telechat3-yarn", "deepseek_yarn", "deepseek_llama_scaling"}
)


class ModelConfig(msgspec.Struct, frozen=True):
    """A configuration, and the part of it that describes the text model."""

    whole: Json
    text: Json

    @property
    def model_type(self) -> str | None:
        return _string(self.whole, "model_type")

    @property
    def hidden_size(self) -> int | None:
        return _count(self.text, *_HIDDEN)

    @property
    def num_layers(self) -> int | None:
        return _count(self.text, *_LAYERS)

    @property
    def num_heads(self) -> int | None:
        return _count(self.text, *_HEADS)

    @property
    def num_kv_heads(self) -> int | None:
        """Number of key/value heads: fewer than heads where groups of heads share them."""
        if self.text.get("multi_query") is True and not self.text.get("new_decoder_architecture"):
            return 1
        return _count(self.text, *_KV_HEADS) or self.num_heads

    @property
    def head_dim(self) -> int | None:
        declared = _count(self.text, "head_dim", "hidden_size_per_head")
        if declared is None and self.hidden_size and self.num_heads:
            return self.hidden_size // self.num_heads
        return declared

    @property
    def vocab_size(self) -> int | None:
        return _count(self.text, *_VOCAB) or _count(self.whole, *_VOCAB)

    @property
    def dtype(self) -> str | None:
        """The declared type of the weights, without "torch."."""
        for part in (self.whole, self.text):
            for key in ("dtype", "torch_dtype"):
                if name := _string(part, key):
                    return name.removeprefix("torch.")
        return None

    @property
    def kv_values_per_layer(self) -> int | None:
        """Numbers in the KV cache for one token in one layer; with multi-head latent attention it is one vector."""
        latent, rope = _count(self.text, "kv_lora_rank"), _count(self.text, "qk_rope_head_dim")
        if latent and rope:
            return latent + rope
        if self.num_kv_heads and self.head_dim:
            return 2 * self.num_kv_heads * self.head_dim
        return None

    @property
    def context_length(self) -> int | None:
        """The longest sequence in tokens: vLLM's `derive_max_model_len_and_key`, then its RoPE scaling."""
        declared = [size for key in _CONTEXT if (size := _size(self.text.get(key))) is not None]
        length = _size(self.text.get("model_max_length")) or min(declared, default=None)
        if length is None:
            return None
        if "gemma3" not in (_string(self.text, "model_type") or self.model_type or ""):
            length *= _rope_factor(self.text)
        return int(length) if math.isfinite(length) else None

    @property
    def needs_remote_code(self) -> bool:
        """Whether Transformers would run Python code that comes with the model."""
        return isinstance(self.whole.get("auto_map"), dict)

    @property
    def architectures(self) -> list[str]:
        """The architectures named, or the one that vLLM assumes for the model type; empty if there is none.

        Raises: Unreadable, if `architectures` is not a list of names.
        """
        named = self.whole.get("architectures")
        if not named:
            assumed = vllm.facts().model_types.get(self.model_type or "")
            return [assumed] if assumed else []
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise Unreadable(
                "config-architectures",
                f"architectures is not a list of names: {named!r:.80}.",
                'Name the class of the model, for example "architectures": ["LlamaForCausalLM"].',
            )
        return named


def parse(raw: bytes, file: str = "config.json") -> ModelConfig:
    """Read the configuration in `raw`; `file` is its name in messages.

    Raises: Unreadable, if it is not a JSON object.
    """
    whole = parse_object(raw, "config-json", file)
    return ModelConfig(whole=whole, text=_text_part(whole))


def parse_object(raw: bytes, rule: str, file: str) -> Json:
    """Read a JSON object as Python's json does, and so vLLM: NaN is a number, the last of repeated keys counts.

    Raises: Unreadable with `rule`.
    """
    fix = f"Replace {file} by the original; save_pretrained writes it."
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Unreadable(rule, "The file is not UTF-8.", fix, error.start) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(rule, f"The file is not JSON: {error.msg} at {where}.", fix, error.pos) from error
    except (RecursionError, ValueError) as error:  # nested too deeply; an integer of thousands of digits
        raise Unreadable(rule, f"The file is not JSON that Python would read: {error}.", fix) from error
    if not isinstance(value, dict):
        raise Unreadable(rule, f"The file holds JSON of type {type(value).__name__}, not an object.", fix, 0)
    return value


def _text_part(whole: Json) -> Json:
    for key in _TEXT_KEYS:
        part = whole.get(key)
        if isinstance(part, dict):
            return _text_part(part) if key == "thinker_config" else part
    return whole


def _string(part: Json, key: str) -> str | None:
    value = part.get(key)
    return value if isinstance(value, str) else None


def _count(part: Json, *keys: str) -> int | None:
    """The value of the first of `keys` that has a positive integer."""
    for key in keys:
        value = part.get(key)
        if type(value) is int and 0 < value < 2**53:
            return value
    return None


def _size(value: object) -> float | None:
    """`value` if it is a positive number and no boolean."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _rope_factor(text: Json) -> float:
    factor = 1.0
    for rope in _ropes(text):
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in _ROPE_SCALED:
            factor = _size(rope.get("factor")) or factor
    return factor


def _ropes(text: Json) -> Iterator[Json]:
    """The RoPE parameters: one set for the whole model, or one for each type of layer."""
    found = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(found, dict):
        return
    nested = [part for part in found.values() if isinstance(part, dict)]
    yield from nested or [found]
