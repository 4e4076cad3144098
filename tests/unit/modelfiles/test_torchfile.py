"""What torch would load, what it would refuse, and what no name hides."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from libs.modelfiles import pickles, torchfile
from libs.modelfiles.torchfile import PickleScan
from tests.support.ranges import read_from, read_watched
from tests.support.torchfiles import calling, given_torch, legacy_torch, state_dict, text, torch_zip, zipped

REAL = Path(__file__).parent / "torch_files"  # written by torch 2.13

SYSTEM = calling("os", "system", "id")


def scan(content: bytes, name: str = "pytorch_model.bin") -> PickleScan:
    return read_from(content, torchfile.scan_file(len(content), name, max_opcodes=10_000))


def loadable(found: PickleScan) -> bool:
    """Whether torch.load(weights_only=True) would take the file."""
    return not (found.dangerous or found.unknown or found.unfinished or found.refused)


LOADED_BY_TORCH = {
    "zip.bin": {"a": ("F32", (4, 3)), "b": ("BF16", (2,)), "tied": ("F32", (4, 3))},
    "legacy.bin": {"a": ("F32", (4, 3)), "b": ("BF16", (2,)), "tied": ("F32", (4, 3))},
    "module.bin": {"weight": ("F32", (2, 3)), "bias": ("F32", (2,))},
    "legacy_module.bin": {"weight": ("F32", (2, 3)), "bias": ("F32", (2,))},
    "param.bin": {"a": ("F32", (4, 3)), "v": ("F32", (4, 2)), "f8": ("F8_E4M3", (4,)), "u": ("U16", (3,))},
}


@pytest.mark.parametrize("name", LOADED_BY_TORCH)
def test_what_torch_loads_is_read_with_its_tensors(name: str) -> None:
    found = scan((REAL / name).read_bytes(), name)

    assert loadable(found)
    tensors = {key: (stored.tensor.dtype, stored.tensor.shape) for key, stored in (found.tensors or {}).items()}
    assert tensors == LOADED_BY_TORCH[name]


def test_tied_tensors_share_a_storage() -> None:
    tensors = scan((REAL / "zip.bin").read_bytes()).tensors or {}
    assert tensors["a"].storage == tensors["tied"].storage


REFUSED_BY_TORCH = {
    "whole.bin": "torch.nn.modules.linear.Linear",  # a module, not its state
    "training_args.bin": "argparse.Namespace",
    "p4.bin": "opcodes that torch does not execute",
    "jit.bin": "TorchScript",
    "plain.bin": "neither a zip archive nor a legacy file",
    "list.bin": "not a state dict",  # torch loads it, vLLM calls .items()
}


@pytest.mark.parametrize("name", REFUSED_BY_TORCH)
def test_what_torch_or_vllm_would_refuse_is_said(name: str) -> None:
    found = scan((REAL / name).read_bytes(), name)

    assert not loadable(found)
    assert REFUSED_BY_TORCH[name] in " ".join([*found.unknown, *found.refused])


def short_text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


STACK_GLOBAL = b"\x80\x04" + short_text("os") + short_text("system") + b"\x93" + short_text("id") + b"\x85R."


def given_npy(header: str) -> bytes:
    """An array of objects, whose pickle calls os.system."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + SYSTEM


# Every way that is known to hide a call from a scanner; each runs `os.system` when it is unpickled by its own reader
DANGEROUS = {
    "zip, protocol 2": torch_zip(SYSTEM),
    "legacy file": legacy_torch(SYSTEM),
    "bare pickle": SYSTEM,
    "protocol 0": b"cos\nsystem\n(S'id'\ntR.",
    "protocol 0, INST": b"(S'id'\nios\nsystem\n.",
    "protocol 0, OBJ": b"(cos\nsystem\nS'id'\no.",
    "STACK_GLOBAL": STACK_GLOBAL,
    "STACK_GLOBAL from the memo": (
        b"\x80\x04" + short_text("os") + b"\x94" + short_text("system") + b"\x940" * 2 + b"h\x00h\x01\x93)R."
    ),
    "STACK_GLOBAL with the memo put over": (
        b"\x80\x04" + short_text("os") + b"q\x05" + b"0" + short_text("system") + b"q\x06" + b"0h\x05h\x06\x93)R."
    ),
    "Python 2 name": calling("__builtin__", "eval", "1"),
    "other name of os": calling("posix", "system", "id"),
    "submodule of a bad one": calling("subprocess.something", "run", "id"),
    "in the second pickle": pickle.dumps({}, protocol=2) + SYSTEM,
    "in the last pickle of a legacy file": legacy_torch(pickle.dumps({}, protocol=2))[:-6] + SYSTEM,
    "broken off after the call": calling("os", "system", "id")[:-1],
    "another member": zipped({"archive/data.pkl": state_dict({}), "archive/extra": SYSTEM}),
    "another member, protocol 0": zipped({"a/data.pkl": state_dict({}), "a/x.pkl": b"cos\nsystem\n(S'id'\ntR."}),
    "deflated": zipped({"archive/data.pkl": SYSTEM}, deflate=True),
    "bad first member": zipped({"archive/bad.pkl": b"\x80\x02garbage", "archive/data.pkl": SYSTEM}),
    "the same name twice": b"",  # made below
    "behind other bytes": b"\x7fELF" + zipped({"archive/data.pkl": SYSTEM}),
    "numpy array of objects": given_npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"),
    "numpy array, fields in another order": given_npy("{'fortran_order': False, 'descr': '|O', 'shape': (1,)}"),
    "numpy array in an npz": zipped({"a.npy": given_npy("{'descr': '|O', 'shape': (1,)}")}),
}


def with_repeated_name() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", SYSTEM)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("archive/data.pkl", state_dict({}))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "state.pth", "old.ckpt", "data.pkl"])
@pytest.mark.parametrize("case", DANGEROUS)
def test_no_hiding_place_keeps_a_call_from_being_found(case: str, name: str) -> None:
    content = DANGEROUS[case] or with_repeated_name()
    found = scan(content, name)
    assert found.is_pickle
    assert found.dangerous


@pytest.mark.parametrize("name", ["notes.txt", "config.json", "tokenizer.model", "weights.safetensors", "noextension"])
@pytest.mark.parametrize(
    "case", ["zip, protocol 2", "bare pickle", "legacy file", "STACK_GLOBAL", "behind other bytes"]
)
def test_content_is_found_under_any_name(case: str, name: str) -> None:
    assert scan(DANGEROUS[case], name).dangerous


def test_a_bad_checksum_hides_nothing_and_is_no_file_for_torch() -> None:
    whole = torch_zip(SYSTEM)
    crc = struct.pack("<I", zlib.crc32(SYSTEM))
    assert scan(whole.replace(crc, b"\0\0\0\0")).dangerous
    harmless = state_dict({})
    crc = struct.pack("<I", zlib.crc32(harmless))
    found = scan(torch_zip(harmless).replace(crc, b"\0\0\0\0"))
    assert found.refused == ["the checksum of 'archive/data.pkl' is wrong"]


UNFINISHED = {
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(26), "packed as 7z"),
    "gzip": (b"\x1f\x8b\x08" + bytes(26), "packed as gzip"),
    "xz": (b"\xfd7zXZ\0" + bytes(26), "packed as xz"),
    "zip in a zip": (zipped({"a/data.pkl": state_dict({}), "a/in.zip": torch_zip(SYSTEM)}), "is an archive itself"),
    "directory cut off": (torch_zip(SYSTEM)[:-40] + torch_zip(SYSTEM)[-22:], "zip archive, but"),
    "more opcodes than are read": (b"\x80\x02" + b"N0" * 5_000 + b".", "more opcodes than are read"),
    "breaks off": (b"\x80\x02}q\x00(X\xff\xff", "breaks off"),
    "no opcodes": (b"\x80\x02\xff\xff\xff", "breaks off"),
    "many small pickles": (
        zipped({f"a/{i}.pkl": b"\x80\x02" + b"N0" * 200_000 + b"." for i in range(3)}),
        "more opcodes",
    ),
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_what_cannot_be_scanned_to_its_end_is_not_called_harmless(case: str) -> None:
    content, told = UNFINISHED[case]
    found = scan(content)
    assert told in " ".join(found.unfinished)
    assert not loadable(found)


def test_an_encrypted_member_is_not_called_harmless() -> None:
    whole = bytearray(torch_zip(SYSTEM))
    directory = whole.index(b"PK\x01\x02")
    whole[directory + 8] |= 1
    assert "encrypted" in " ".join(scan(bytes(whole)).unfinished)


UNRESOLVED = {
    "module from the memo that was never put": b"\x80\x04h\x07" + short_text("system") + b"\x93)R.",
    "module made of bytes": b"\x80\x04C\x02os" + short_text("system") + b"\x93)R.",
    "name from under the top": b"\x80\x04" + short_text("os") + b"N0" + short_text("system") + b"\x93)R.",
    "extension code": b"\x80\x02\x82\x01)R.",
}


@pytest.mark.parametrize("case", UNRESOLVED)
def test_an_import_that_cannot_be_named_is_unknown(case: str) -> None:
    found = pickles.scan(UNRESOLVED[case])
    assert found.unknown or found.dangerous


def test_a_tensor_whose_bytes_are_missing_is_refused() -> None:
    shapes = {"a": (2, 2), "b": (4,)}
    assert loadable(scan(given_torch(shapes)))
    assert scan(torch_zip(state_dict(shapes), {"0": 16})).refused == ["the bytes of b are not in it"]
    assert scan(torch_zip(state_dict(shapes), {"0": 16, "1": 8})).refused == ["the bytes of b are cut short"]


MALFORMED = {
    "empty stack": b"\x80\x02R.",
    "memo never put": b"\x80\x02h\x05.",
    "no mark": b"\x80\x02u.",
    "item of no dictionary": b"\x80\x02" + text("a") + text("b") + text("c") + b"s.",
    "persistent id of no storage": b"\x80\x02" + text("x") + b"Q.",
    "nothing": b"",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_program_that_torch_could_not_step_through_is_refused(case: str) -> None:
    assert "malformed" in " ".join(scan(torch_zip(MALFORMED[case])).refused)


def test_tensors_are_not_read_however_large() -> None:
    """Only the zip's ends and data.pkl are read of 16 MB."""
    content = given_torch({"a": (2048, 2048)})
    found, asked = read_watched(content, torchfile.scan_file(len(content), "pytorch_model.bin"))
    assert loadable(found)
    assert sum(part.length for part in asked) < 70_000


def test_text_and_json_are_no_pickles() -> None:
    for content in (b"{}", b"hello world.\n" * 100, b"(lp0\n.", b"\x80 latin", b"PK"):
        found = scan(content, "README.md")
        assert not found.is_pickle
        assert not found.dangerous


def test_raw_bytes_under_a_pickles_name_are_none() -> None:
    """OpenVINO's weights, for example: .bin, but not torch's."""
    found = scan(bytes(range(200, 256)) * 1000)
    assert not found.is_pickle
    assert not found.unfinished
    assert found.refused  # were vLLM to load it
