"""Finds pickles in files of any name, and whether vLLM's torch.load would load them.

A torch file is a zip archive with one pickle (`data.pkl`) and one member of raw bytes for each storage. Before
2020 it was five pickles, then the raw bytes. Sources: torch/serialization.py; caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import msgspec

from libs.modelfiles import pickles, statedict, zipdir
from libs.modelfiles.pickles import MAX_OPCODES, MAX_PICKLE_BYTES, Pickle
from libs.modelfiles.ranges import Range, Reader
from libs.modelfiles.statedict import Stored
from libs.modelfiles.zipdir import BrokenZip, Member

# Files that programs unpickle by their names; only these are searched for pickles without a signature (protocol 0, 1)
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dat", ".data", ".npy", ".npz")

# What torch.save wrote first until 1.5: the pickled magic number 0x1950a86a20f9469cfc6c
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PICKLES = 5  # magic number, protocol version, system, objects, keys of storages
_OBJECTS = 3  # index of the state dict among them
_NUMPY_MAGIC = b"\x93NUMPY"
_PACKED_MAGICS = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"x\x9c": "zlib",
}

_HEAD_BYTES = 64
_FIRST_BYTES = 1024 * 1024  # of a pickle without a directory; more if it turns out to be longer
_MAX_MEMBERS_OPENED = 1_000
_STORAGES_PREFIX = "data/"


class PickleScan(msgspec.Struct):
    """The pickles found in a file, all together."""

    is_pickle: bool = False  # the file is one, or holds one
    dangerous: set[str] = msgspec.field(default_factory=set)  # imports known to run code: "module.name"
    unknown: set[str] = msgspec.field(default_factory=set)  # imports that are not known to be harmless
    unfinished: list[str] = msgspec.field(default_factory=list)  # why some part could not be read
    refused: list[str] = msgspec.field(default_factory=list)  # why torch.load(weights_only=True) would not load it
    tensors: dict[str, Stored] | None = None  # of the state dict, where there is one
    opcodes_left: int = MAX_OPCODES

    def take(self, pickle: Pickle, where: str) -> None:
        """Add the findings of the pickle at `where`."""
        self.is_pickle = True
        self.opcodes_left -= pickle.opcode_count
        self.dangerous |= pickle.dangerous
        self.unknown |= pickle.unknown
        if pickle.unfinished:
            self.unfinished.append(f"{where}: {pickle.unfinished}")
        if extra := pickle.torch_would_refuse:
            self.refused.append(f"{where} uses opcodes that torch does not execute: {', '.join(sorted(extra))}")


def scan_file(size_bytes: int, name: str, max_opcodes: int = MAX_OPCODES) -> Reader[PickleScan]:
    """Scan a file of `size_bytes` for pickles: reads both ends, the directory of a zip file, and the pickles.

    Raises nothing, whatever the file contains: faults are in the result.
    """
    scan = PickleScan(opcodes_left=max_opcodes)
    head = yield Range(0, _HEAD_BYTES)
    try:
        members = yield from zipdir.read_directory(size_bytes)
    except BrokenZip as error:
        scan.is_pickle = name.endswith(PICKLE_SUFFIXES)
        scan.unfinished.append(str(error))
        return scan
    if members is not None:
        yield from _scan_zip(scan, members, torch=head.startswith(zipdir.LOCAL_MAGIC))
    elif head.startswith(_LEGACY_MAGIC):
        yield from _scan_sequence(scan, size_bytes, 0, legacy=True)
    elif head.startswith(_NUMPY_MAGIC):
        yield from _scan_numpy(scan, size_bytes)
    elif pickles.looks_like_pickle(head) or name.endswith(PICKLE_SUFFIXES):
        packed = next((kind for magic, kind in _PACKED_MAGICS.items() if head.startswith(magic)), None)
        if packed:
            scan.unfinished.append(f"it is packed as {packed}")
        else:
            yield from _scan_sequence(scan, size_bytes, 0, legacy=False)
        scan.refused.append("it is neither a zip archive nor a legacy file of torch.save")
    else:
        scan.refused.append("it is neither a zip archive nor a legacy file of torch.save")
    return scan


# Zip


def _scan_zip(scan: PickleScan, members: list[Member], *, torch: bool) -> Reader[None]:
    root = members[0].name.partition("/")[0] + "/" if members else ""
    opened = 0
    objects: bytes | None = None
    for member in members:
        if _is_storage(member, root) or member.name.endswith("/"):
            continue
        opened += 1
        if opened > _MAX_MEMBERS_OPENED:
            scan.unfinished.append(f"it has more than {_MAX_MEMBERS_OPENED:,} members that are not tensors")
            break
        try:
            content = yield from _scan_member(scan, member)
        except BrokenZip as error:
            scan.unfinished.append(str(error))
            continue
        if member.name == f"{root}data.pkl":
            objects = content
            _check_crc(scan, member, content)
    names = {member.name for member in members}
    if not torch:
        scan.refused.append("something stands before the zip archive")
    elif f"{root}constants.pkl" in names:
        scan.refused.append("it is a TorchScript program, not a state dict")
    elif objects is None:
        scan.refused.append(f"its zip archive has no {root}data.pkl that can be read")
    else:
        _read_tensors(scan, objects)
        _check_storages(scan, {member.name: member for member in members}, root)


def _is_storage(member: Member, root: str) -> bool:
    """Whether the member is raw bytes of a tensor, which torch never unpickles."""
    inner = member.name.removeprefix(root)
    return inner.startswith(_STORAGES_PREFIX) and inner.removeprefix(_STORAGES_PREFIX).isdecimal() and member.stored


def _scan_member(scan: PickleScan, member: Member) -> Reader[bytes]:
    """Scan one member for pickles, by content or name. Returns its content if it is a pickle, else its beginning."""
    content = yield from zipdir.read_member(member, _HEAD_BYTES)
    named = member.name.endswith(PICKLE_SUFFIXES)
    if content.startswith((zipdir.LOCAL_MAGIC, *_PACKED_MAGICS)):
        scan.unfinished.append(f"its member {member.name!r} is an archive itself")
        return content
    if not (named or pickles.looks_like_pickle(content) or content.startswith(_NUMPY_MAGIC)):
        return content
    if max(member.size_bytes, member.packed_bytes) > MAX_PICKLE_BYTES:
        scan.unfinished.append(f"its member {member.name!r} is longer than {MAX_PICKLE_BYTES:,} bytes")
        return content
    content = yield from zipdir.read_member(member, MAX_PICKLE_BYTES)
    if content.startswith(_NUMPY_MAGIC):
        if (start := _numpy_objects(content)) is not None:
            _take_all(scan, content, start, member.name)
        return content
    _take_all(scan, content, 0, member.name)
    return content


def _check_crc(scan: PickleScan, member: Member, content: bytes) -> None:
    if len(content) == member.size_bytes and zlib.crc32(content) != member.crc:
        scan.refused.append(f"the checksum of {member.name!r} is wrong")


def _read_tensors(scan: PickleScan, objects: bytes) -> None:
    if scan.unfinished or scan.refused or scan.dangerous:
        return
    try:
        scan.tensors = statedict.tensors(objects)
    except statedict.Malformed as error:
        scan.refused.append(f"its pickle is malformed: {error}")
        return
    if scan.tensors is None:
        scan.refused.append("what it holds is not a state dict (a dictionary of tensors)")


def _check_storages(scan: PickleScan, members: dict[str, Member], root: str) -> None:
    for name, stored in (scan.tensors or {}).items():
        member = members.get(f"{root}{_STORAGES_PREFIX}{stored.storage.key}")
        if member is None:
            scan.refused.append(f"the bytes of {name} are not in it")
        elif member.size_bytes < stored.storage.size_bytes:
            scan.refused.append(f"the bytes of {name} are cut short")


# Pickles without a directory


def _scan_sequence(scan: PickleScan, size_bytes: int, start: int, *, legacy: bool) -> Reader[None]:
    """Scan pickles one after another: all there is, or the five of a legacy file and nothing of its tensors."""
    length = _FIRST_BYTES
    while True:
        content = yield Range(start, min(length, MAX_PICKLE_BYTES))
        whole = start + len(content) >= size_bytes
        found = list(_pickles(content, scan.opcodes_left, _LEGACY_PICKLES if legacy else size_bytes))
        if whole or length >= MAX_PICKLE_BYTES or not found[-1].unfinished:
            break
        length *= 8
    if found and not _is_pickle(content, found[0]):
        return
    for number, pickle in enumerate(found):
        scan.take(pickle, f"pickle {number + 1}")
    if legacy and len(found) == _LEGACY_PICKLES:
        _read_tensors(scan, content[found[_OBJECTS - 1].end : found[_OBJECTS].end])
    elif not legacy and not whole:
        scan.unfinished.append(f"it goes on after {len(content):,} bytes")


def _is_pickle(content: bytes, first: Pickle) -> bool:
    """Whether bytes that a name suggests to be a pickle are one: they begin as one, or import something, or end as one.

    Others break off before they could do anything, in any unpickler.
    """
    return pickles.looks_like_pickle(content) or bool(first.globals) or not first.breaks_off


def _pickles(content: bytes, max_opcodes: int, limit: int) -> Iterable[Pickle]:
    """Up to `limit` pickles, one after another, the last one perhaps unfinished."""
    at = 0
    for _ in range(limit):
        pickle = pickles.scan(content, at, max_opcodes)
        yield pickle
        at, max_opcodes = pickle.end, max_opcodes - pickle.opcode_count
        if pickle.unfinished or at >= len(content):
            return


def _take_all(scan: PickleScan, content: bytes, start: int, where: str) -> None:
    for pickle in _pickles(content[start:], scan.opcodes_left, len(content)):
        scan.take(pickle, where)


# numpy


def _scan_numpy(scan: PickleScan, size_bytes: int) -> Reader[None]:
    head = yield Range(0, _FIRST_BYTES)
    start = _numpy_objects(head)
    if start is not None:
        yield from _scan_sequence(scan, size_bytes, start, legacy=False)
    scan.refused.append("it is a numpy file")


def _numpy_objects(content: bytes) -> int | None:
    """Where the pickle of an array of Python objects begins; None for arrays of numbers, which have none.

    Source: numpy/lib/format.py: magic, two bytes of version, the header's length (2 or 4 bytes), the header.
    """
    width = 2 if content[6:7] == b"\x01" else 4
    length = int.from_bytes(content[8 : 8 + width], "little")
    header = content[8 + width : 8 + width + length]
    return 8 + width + length if b"O" in header else None
