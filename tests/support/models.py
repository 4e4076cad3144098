"""Makers of tiny real models, as dictionaries from path to bytes.

`given_llama()` is a two-layer model that vLLM would load: names, shapes and configuration fit each other. Keep what
you need, break what your test is about, and upload, archive or write the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from tests.support.torchfiles import given_torch

Files = dict[str, bytes]
Tensors = dict[str, npt.NDArray[np.float16]]

# Heads of 32: the least that vLLM's attention takes on CPUs
HIDDEN, HEADS, KV_HEADS, LAYERS, INTERMEDIATE, VOCAB, CONTEXT = 128, 4, 2, 2, 256, 256, 512

LLAMA_CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
}


def given_llama(*, shards: int = 1, seed: int = 0, layers: int = LAYERS, **config: object) -> Files:
    """A tiny Llama with tokenizer files; with an index if it is in more than one shard.

    `config` is merged into config.json; `seed` makes other weights of the same shape.
    """
    told = LLAMA_CONFIG | {"num_hidden_layers": layers} | config
    files = {
        "config.json": encoded(told),
        "generation_config.json": encoded({"bos_token_id": 1, "eos_token_id": 2}),
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": encoded({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT}),
        "README.md": b"---\nlicense: apache-2.0\nlanguage: en\n---\n# tiny\n",
    }
    return files | in_shards(llama_tensors(seed=seed, layers=layers), shards)


def given_big_llama(size_bytes: int, *, shards: int = 1, seed: int = 0) -> Files:
    """A Llama of about `size_bytes` of weights, all in its vocabulary, which is cheap to make."""
    rows = max(VOCAB, size_bytes // (2 * HIDDEN))
    around = {path: content for path, content in given_llama(vocab_size=rows).items() if path != "model.safetensors"}
    return around | in_shards(llama_tensors(seed=seed, vocab=rows), shards)


def given_pytorch_llama(weights: bytes | None = None, **config: object) -> Files:
    """A tiny Llama whose weights are pytorch_model.bin: zeros, or other bytes."""
    if weights is None:
        weights = given_torch({name: tensor.shape for name, tensor in llama_tensors().items()})
    return without(given_llama(**config), "model.safetensors") | {"pytorch_model.bin": weights}  # type: ignore[arg-type]


def without(files: Files, *paths: str) -> Files:
    """The other files."""
    return {path: content for path, content in files.items() if path not in paths}


def llama_tensors(*, seed: int = 0, layers: int = LAYERS, vocab: int = VOCAB) -> Tensors:
    """The tensors of a Llama with tied embeddings, by Transformers' names."""
    head = HIDDEN // HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, HIDDEN)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm.weight": (HIDDEN,),
            f"{at}.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{at}.self_attn.k_proj.weight": (KV_HEADS * head, HIDDEN),
            f"{at}.self_attn.v_proj.weight": (KV_HEADS * head, HIDDEN),
            f"{at}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{at}.post_attention_layernorm.weight": (HIDDEN,),
            f"{at}.mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{at}.mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{at}.mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
        }
    shapes["model.norm.weight"] = (HIDDEN,)
    random = np.random.default_rng(seed)
    below_one = 0x3C00  # the bits of 1.0; those of every number from 0 up to it are smaller, and quickly drawn
    return {name: random.integers(0, below_one, shape, np.uint16).view(np.float16) for name, shape in shapes.items()}


def in_shards(tensors: Tensors, shards: int) -> Files:
    """model.safetensors, or model-0000i-of-0000n.safetensors with an index."""
    if shards == 1:
        return {"model.safetensors": save(tensors, metadata={"format": "pt"})}
    names = list(tensors)
    files: Files = {}
    weight_map: dict[str, str] = {}
    for number in range(shards):
        path = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[number::shards]}
        files[path] = save(part, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, path)
    total = sum(tensor.nbytes for tensor in tensors.values())
    files["model.safetensors.index.json"] = encoded({"metadata": {"total_size": total}, "weight_map": weight_map})
    return files


def tokenizer() -> bytes:
    """A word-level tokenizer.json of the tokenizers library, as small as can be."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, VOCAB)}
    return encoded(
        {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
        }
    )


def encoded(value: object) -> bytes:
    """`value` as JSON."""
    return json.dumps(value, indent=1).encode()


def written(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write `files` below `folder`. Returns: the folder."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder
