"""Files as torch.save writes them, and pickles as attackers write them, without torch.

A pickle is put together opcode by opcode, since no pickler would write most of what is tested here.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

Shapes = Mapping[str, tuple[int, ...]]


def state_dict(shapes: Shapes) -> bytes:
    """The pickle of a state dict of float32 tensors, one storage each, as torch.save writes it."""
    ops = [b"\x80\x02}q\x00("]
    for key, (name, shape) in enumerate(shapes.items()):
        count = 1
        for side in shape:
            count *= side
        ops += [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((", text("storage"), b"ctorch\nFloatStorage\n"]
        ops += [
            text(str(key)),
            text("cpu"),
            number(count),
            b"tQ",
            number(0),
            numbers(shape),
            numbers((1,) * len(shape)),
        ]
        ops += [b"\x89ccollections\nOrderedDict\n)RtR"]
    return b"".join([*ops, b"u."])


def torch_zip(objects: bytes, sizes: Mapping[str, int] | None = None, *, root: str = "archive") -> bytes:
    """A zip file as torch.save writes it: `objects` is data.pkl, `sizes` the bytes of each storage by its key."""
    members = {f"{root}/data.pkl": objects, f"{root}/byteorder": b"little"}
    members |= {f"{root}/data/{key}": bytes(size) for key, size in (sizes or {}).items()}
    return zipped(members | {f"{root}/version": b"3\n"})


def given_torch(shapes: Shapes) -> bytes:
    """A whole torch file of zeros."""
    sizes = {}
    for key, shape in enumerate(shapes.values()):
        count = 4
        for side in shape:
            count *= side
        sizes[str(key)] = count
    return torch_zip(state_dict(shapes), sizes)


def legacy_torch(objects: bytes, body: bytes = b"") -> bytes:
    """A file as torch.save wrote it before 1.6: five pickles, then the raw bytes of the storages."""
    around = [LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}]
    front = b"".join(pickle.dumps(item, protocol=2) for item in around)
    return front + objects + pickle.dumps([], protocol=2) + body


def zipped(members: Mapping[str, bytes], *, deflate: bool = False) -> bytes:
    """A zip file of `members`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def calling(module: str, function: str, argument: str) -> bytes:
    """The pickle, of protocol 2, that calls `module.function(argument)`."""
    return b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"(" + text(argument) + b"tR."


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """BININT."""
    return b"J" + struct.pack("<i", value)


def numbers(values: tuple[int, ...]) -> bytes:
    """A tuple of BININTs."""
    return b"(" + b"".join(number(value) for value in values) + b"t"
