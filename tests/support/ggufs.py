"""GGUF files, written by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10  # types of values
DENSE, HALF, Q4_1 = 0, 1, 3  # ggml's types of tensors: F32, F16, Q4_1 (20 bytes for 32 elements)

Value = tuple[int, bytes]
Info = tuple[Sequence[int], int, int]  # shape, type, offset


def string(text: str) -> bytes:
    """A length and the text."""
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def text(value: str) -> Value:
    return STRING, string(value)


def u32(value: int) -> Value:
    return U32, struct.pack("<I", value)


def strings(values: Sequence[str]) -> Value:
    """An array of strings."""
    return ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(string(value) for value in values)


def gguf_header(keys: Mapping[str, Value], tensors: Mapping[str, Info], *, version: int = 3) -> bytes:
    """Everything before the tensors' bytes, without padding."""
    told = [string(name) + struct.pack("<I", kind) + raw for name, (kind, raw) in keys.items()]
    infos = [
        string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        for name, (shape, kind, offset) in tensors.items()
    ]
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(told + infos)


def given_gguf(*, context: int = 512) -> bytes:
    """A whole GGUF file of one quantized and one dense tensor, 128 parameters."""
    keys = {
        "general.architecture": text("llama"),
        "general.name": text("Tiny"),
        "general.license": text("apache-2.0"),
        "llama.context_length": u32(context),
        "llama.embedding_length": u32(64),
        "llama.block_count": u32(2),
        "tokenizer.ggml.tokens": strings(["<unk>", "a", "b"]),
        "tokenizer.chat_template": text("x" * 1000),
    }
    tensors: dict[str, Info] = {"token_embd.weight": ((32, 3), Q4_1, 0), "norm.weight": ((32,), DENSE, 64)}
    header = gguf_header(keys, tensors)
    return header + bytes(-len(header) % 32) + bytes(64 + 128)
