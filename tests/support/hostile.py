"""Archives that must be refused: each with the rule that refuses it, and words of its message and of its advice.

No honest tool writes most of them, so they are built block by block.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO

from libs.contracts import ArchiveFormat
from tests.support.tarblocks import BLOCK, END, gnu_long, header, member, padded, pax, pax_record

ANY = "*"  # the finding names some member


@dataclass(frozen=True)
class Hostile:
    """One archive and its refusal."""

    name: str
    content: bytes
    rule: str
    message: str  # is part of the finding's message
    fix: str  # is part of the finding's advice
    file: str | None = None  # the member that the finding names
    format: ArchiveFormat = "tar"


GOOD = member("config.json") + END


def hostile_archives() -> Iterator[Hostile]:
    """All of them."""
    yield from _kinds()
    yield from _names()
    yield from _names_by_header()
    yield from _collisions()
    yield from _headers()
    yield from _extended_headers()
    yield from _incomplete()
    yield from _compressed()
    yield from _foreign()


def _kinds() -> Iterator[Hostile]:
    def kind(name: str, type_: bytes, rule: str, message: str, fix: str, link: str = "") -> Hostile:
        content = member() + header("bad", type_=type_, link=link) + END
        return Hostile(name, content, rule, message, fix, "bad")

    yield kind("symbolic link", b"2", "tar-symlink", "a symbolic link to '../secret'", "`tar -h`", "../secret")
    yield kind("hard link", b"1", "tar-hard-link", "a hard link to 'config.json'", "--hard-dereference", "config.json")
    yield kind("character device", b"3", "tar-device", "a character device", "Leave it out")
    yield kind("block device", b"4", "tar-device", "a block device", "Leave it out")
    yield kind("named pipe", b"6", "tar-fifo", "a named pipe", "Leave it out")
    yield kind("contiguous file", b"7", "tar-contiguous", "a contiguous file", "--format=ustar")
    yield kind("GNU sparse file", b"S", "tar-sparse", "a sparse file", "without `--sparse`")
    yield kind("multi-volume", b"M", "tar-multi-volume", "another volume", "--multi-volume")
    yield kind("incremental dump", b"D", "tar-incremental", "an incremental dump", "--listed-incremental")
    yield kind("volume label", b"V", "tar-volume-label", "a volume label", "--label")
    yield kind("unknown kind", b"Z", "tar-unknown-type", "unknown kind 'Z'", "Make the archive again")
    yield kind("unprintable kind", b"\x80", "tar-unknown-type", "unknown kind", "Make the archive again")
    long_link = gnu_long("/etc/" + "x" * 200, b"K") + header("bad", type_=b"2", link="short") + END
    yield Hostile("symbolic link with a long target", long_link, "tar-symlink", "/etc/xxx", "`tar -h`", "bad")
    pax_link = pax(("linkpath", "/etc/shadow")) + header("bad", type_=b"2") + END
    yield Hostile("symbolic link with a PAX target", pax_link, "tar-symlink", "'/etc/shadow'", "`tar -h`", "bad")
    folder = header("sub/", 5, type_=b"5") + padded(b"12345") + END
    yield Hostile("folder with content", folder, "tar-folder-with-content", "5 bytes", "Make the archive again", "sub/")


_RELATIVE = "relative to the model's folder"


def _names() -> Iterator[Hostile]:
    def named(name: str, raw: str | bytes, rule: str, message: str, fix: str, file: str | None = None) -> Hostile:
        shown = file if file is not None else str(raw)
        return Hostile(name, member() + gnu_long(raw) + header(raw) + END, rule, message, fix, shown)

    yield named("absolute path", "/etc/passwd", "path-absolute", "absolute", _RELATIVE)
    yield named("parent", "../evil", "path-escapes", "'..'", _RELATIVE)
    yield named("parent inside", "a/../../evil", "path-escapes", "'..'", _RELATIVE)
    yield named("parent at the end", "a/..", "path-escapes", "'..'", _RELATIVE)
    yield named("parent by look-alikes", "\u2024\u2024/evil", "path-escapes", "'..'", _RELATIVE)
    yield named("drive letter", "C:/windows", "path-drive-letter", "drive letter", _RELATIVE)
    yield named("backslash", "a\\b", "path-backslash", "backslash", "Separate folders with '/'")
    yield named("line feed", "a\nb", "path-control-character", "U+000A", "Rename", "a\\nb")
    yield named("escape sequence", "a\x1b[31mb", "path-control-character", "U+001B", "Rename", "a\\x1b[31mb")
    yield named("C1 control", "a\x9bb", "path-control-character", "U+009B", "Rename", "a\\x9bb")
    yield named("reversed text", "a\u202egpj.exe", "path-control-character", "U+202E", "Rename", "a\\u202egpj.exe")
    yield named("line separator", "a\u2028b", "path-control-character", "U+2028", "Rename", "a\\u2028b")
    yield named("not UTF-8", b"caf\xe9.json", "path-not-utf8", "not valid UTF-8", "Rename", "caf\\udce9.json")
    yield named(
        "surrogate in UTF-8", b"a\xed\xa0\x80", "path-not-utf8", "not valid UTF-8", "Rename", "a\\udced\\udca0\\udc80"
    )
    yield named("overlong slash", b"a\xc0\xafb", "path-not-utf8", "not valid UTF-8", "Rename", "a\\udcc0\\udcafb")
    yield named("long path", "/".join(["x" * 100] * 6), "path-too-long", "longer than 512 bytes", "Shorten", ANY)
    yield named("long name", "x" * 256, "path-name-too-long", "longer than 255 bytes", "Shorten", ANY)
    yield named("long name in UTF-8", "ü" * 128, "path-name-too-long", "longer than 255 bytes", "Shorten")
    yield named("deep path", "/".join("abcdefghijklmnopq"), "path-too-deep", "more than 16 levels", "fewer folders")
    yield named("slash at a file's end", "model/", "path-empty", "names no file", "Give every file a name")


def _names_by_header() -> Iterator[Hostile]:
    """Names that are what they are by the fields, or the extended headers, that they are put together from."""

    zero = gnu_long("a\0b") + header("a") + END
    yield Hostile("zero in a long name", zero, "path-control-character", "U+0000", "Rename", "a\\x00b")
    zero_pax = pax(("path", "a\0b")) + header("a") + END
    yield Hostile("zero in a PAX path", zero_pax, "path-control-character", "U+0000", "Rename", "a\\x00b")
    yield Hostile("no name", member(b"") + END, "path-empty", "names no file", "Give every file a name", "")
    yield Hostile("only a dot", member(".") + END, "path-empty", "names no file", "Give every file a name", ".")
    root = header("/", type_=b"5") + END
    yield Hostile("the root folder", root, "path-absolute", "absolute", _RELATIVE, "/")
    by_prefix = header("passwd", prefix=b"/etc") + END
    yield Hostile("absolute by its prefix", by_prefix, "path-absolute", "absolute", _RELATIVE, "/etc/passwd")
    by_pax = pax(("path", "../../evil")) + header("harmless") + END
    yield Hostile("parent by PAX", by_pax, "path-escapes", "'..'", _RELATIVE, "../../evil")
    parent = header("../sub/", type_=b"5") + END
    yield Hostile("parent as a folder", parent, "path-escapes", "'..'", _RELATIVE, "../sub")


def _collisions() -> Iterator[Hostile]:
    def pair(name: str, first: str, second: str, rule: str, message: str, fix: str) -> Hostile:
        return Hostile(name, member(first) + member(second) + END, rule, message, fix, second)

    repeated = pair("repeated name", "a/b", "./a//b", "path-repeated", "occurs twice", "once")
    yield replace(repeated, file="a/b")
    yield pair("names by case", "README.md", "readme.MD", "path-collides", "'README.md'", "Rename one")
    yield pair("names by German case", "straße", "STRASSE", "path-collides", "'straße'", "Rename one")
    composed = pair("names by Unicode form", "\u00e9", "e\u0301", "path-repeated", "occurs twice", "once")
    yield replace(composed, file="\u00e9")
    yield pair("names by compatibility", "\ufb01le", "file", "path-collides", "differs from", "Rename one")
    yield pair("names by an invisible character", "a\u200bb", "ab", "path-collides", "differs from", "Rename one")
    yield pair("names by a trailing dot", "a", "a.", "path-collides", "trailing dot", "Rename one")
    yield pair("folders by case", "Sub/a", "sub/b", "path-collides", "'Sub'", "Rename one")
    yield pair("file used as a folder", "a", "a/b", "path-file-and-folder", "both a file and a folder", "Rename one")
    yield pair("folder used as a file", "a/b", "a", "path-file-and-folder", "both a file and a folder", "Rename one")
    empty = header("a/", type_=b"5") + member("a") + END
    yield Hostile("empty folder and file", empty, "path-file-and-folder", "both a file and a folder", "Rename one", "a")
    many = b"".join(header(f"f{number}") for number in range(2001)) + END
    yield Hostile("too many files", many, "path-too-many", "more than 2000 files", "Leave out", "f2000")
    folders = header("./", type_=b"5") * 2001 + END
    yield Hostile("too many folders", folders, "path-too-many", "more than 2000 files", "Leave out", ".")
    long_names = (f"{number:04}" + "x" * 250 + "/" + "y" * 250 for number in range(1100))
    listing = b"".join(gnu_long(name) + header("x") for name in long_names) + END
    yield Hostile(
        "too long a listing", listing, "path-listing-too-long", "longer than 524288 bytes", "fewer files", ANY
    )


def _headers() -> Iterator[Hostile]:
    again = "Make the archive again"

    def sized(name: str, size: bytes, message: str) -> Hostile:
        return Hostile(name, header("bad", size) + END, "tar-bad-size", message, again, "bad")

    yield sized("negative size in base 256", b"\xff" * 11 + b"\x9c", "negative size")
    yield sized("negative size in octal", b"-0000000144\0", "negative size")
    yield sized("overflowing size", b"\x80" + b"\xff" * 11, "overflows")
    yield sized("size that is no number", b"00000000x8z\0", "not a number")
    yield sized("size with digits beyond octal", b"00000000089\0", "not a number")
    yield sized("size with an underscore", b"0000000_144\0", "not a number")
    too_large = member() + header("bad", b"\x80" + (2**50).to_bytes(11, "big")) + END
    yield Hostile("larger than allowed", too_large, "archive-too-large", "may hold", "smaller model", "bad")
    damaged = member() + header("bad", checksum=b"000001\0 ") + END
    yield Hostile("wrong checksum", damaged, "tar-bad-checksum", "wrong checksum", again)
    no_number = member() + header("bad", checksum=b"zzzzzz\0 ") + END
    yield Hostile("checksum that is no number", no_number, "tar-bad-checksum", "wrong checksum", again)
    flipped = bytearray(member() + header("bad") + END)
    flipped[1024 + 3] ^= 0x20
    yield Hostile("one flipped bit", bytes(flipped), "tar-bad-checksum", "wrong checksum", again)


def _extended_headers() -> Iterator[Hostile]:
    again = "Make the archive again"

    def raw_pax(name: str, records: bytes, message: str, rule: str = "tar-bad-pax", fix: str = again) -> Hostile:
        return Hostile(name, member("px", records, type_=b"x") + member() + END, rule, message, fix, "px")

    yield raw_pax("PAX record without length", b"path=a\n", "length is wrong")
    yield raw_pax("PAX record of length zero", b"0 path=a\n", "length is wrong")
    yield raw_pax("PAX record beyond its header", b"99 path=a\n", "length is wrong")
    yield raw_pax("PAX record cut short", b"5 pat", "length is wrong")
    yield raw_pax("PAX record without an equals sign", b"10 patha\n\n", "without a key")
    yield raw_pax("PAX record without a key", b"6 =ab\n", "without a key")
    yield raw_pax("PAX record with a huge length", b"9" * 30 + b" path=a\n", "length is wrong")
    yield raw_pax("empty PAX path", pax_record("path", ""), "an empty path")
    for key in ("GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.numblocks", "SCHILY.realsize"):
        yield raw_pax(f"sparse by {key}", pax_record(key, "1"), "a sparse file", "tar-sparse", "without `--sparse`")
    for value in ("-1", "1e3", "0x10", "9" * 30, " 5", "\u0665"):
        content = pax(("size", value)) + header("bad") + END
        yield Hostile(f"PAX size {value!r}", content, "tar-bad-size", f"'{value}'", again, "bad")
    for key in ("path", "size", "linkpath"):
        content = pax((key, "1"), type_=b"g") + member() + END
        yield Hostile(f"global {key}", content, "tar-bad-pax", f"sets the {key}", again, "PaxHeaders/x")
    huge = header("px", 2 * 1024 * 1024, type_=b"x") + END
    yield Hostile("huge PAX header", huge, "tar-header-too-large", "2097152 bytes", "--no-xattrs", "px")
    huge_name = header("././@LongLink", 2**40, type_=b"L") + END
    yield Hostile("huge long name", huge_name, "tar-header-too-large", "long name", "--no-xattrs", "././@LongLink")
    twice = pax(("path", "a")) + pax(("path", "b")) + header("c") + END
    yield Hostile("two PAX headers", twice, "tar-bad-extension", "repeated", again, "PaxHeaders/x")
    two_names = gnu_long("a") + pax(("path", "b")) + header("c") + END
    yield Hostile("two long names", two_names, "tar-bad-extension", "two long names", again, "PaxHeaders/x")
    dangling = member() + gnu_long("a") + END
    yield Hostile("long name of nothing", dangling, "tar-bad-extension", "no next member", "whole archive", ANY)
    empty = header("px", 0, type_=b"x") + member() + END
    yield Hostile("empty PAX header", empty, "tar-bad-extension", "empty", again, "px")


def _incomplete() -> Iterator[Hostile]:
    whole = "Send the whole archive"
    content = member("model.bin", b"x" * 2000)
    yield Hostile("cut in a header", member() + header("b")[:300], "tar-truncated", "within a header", whole)
    yield Hostile("cut in content", content[:1500], "tar-truncated", "within this member", whole, "model.bin")
    yield Hostile("cut in padding", content[:-40], "tar-truncated", "within this member", whole, "model.bin")
    yield Hostile("cut in a long name", gnu_long("a" * 300)[:600], "tar-truncated", "within this member", whole, ANY)
    yield Hostile("no end marker", content, "tar-no-end", "without its end marker", whole)
    yield Hostile("half an end marker", content + bytes(BLOCK), "tar-no-end", "without its end marker", whole)
    yield Hostile("two archives joined", GOOD + GOOD, "tar-garbage-after-end", "at byte 2048", "not several joined")
    yield Hostile("text after the end", GOOD + b"hello", "tar-garbage-after-end", "at byte 2048", "nothing after it")
    lone = member() + bytes(BLOCK) + member("b") + END
    yield Hostile("lone zero block", lone, "tar-garbage-after-end", "goes on after its end", "nothing after it")
    yield Hostile("no file", END, "archive-empty", "holds no file", "Archive the model's folder")
    only_folder = header("./", type_=b"5") + END
    yield Hostile("only folders", only_folder, "archive-empty", "holds no file", "Archive the model's folder")
    litter = member("._config.json") + member("__MACOSX/x") + member(".DS_Store") + END
    yield Hostile("only litter", litter, "archive-empty", "holds no file", "Archive the model's folder")
    yield Hostile("no bytes", b"", "archive-empty", "no bytes", "Archive the model's folder")


def _compressed() -> Iterator[Hostile]:
    zipped, bzipped = gzip.compress(GOOD, mtime=0), bz2.compress(GOOD)
    test = "test it (`gzip -t` or `bzip2 -t`)"

    def gz(name: str, content: bytes, rule: str, message: str, fix: str) -> Hostile:
        return Hostile(name, content, rule, message, fix, format="tar.gz")

    def bz(name: str, content: bytes, rule: str, message: str, fix: str) -> Hostile:
        return Hostile(name, content, rule, message, fix, format="tar.bz2")

    yield gz("gzip with a wrong CRC", zipped[:-8] + b"\0\0\0\0" + zipped[-4:], "gzip-damaged", "damaged", test)
    yield gz("gzip with a wrong length", zipped[:-1] + b"\x01", "gzip-damaged", "damaged", test)
    yield gz("gzip with damaged content", zipped[:12] + b"\xff\xff" + zipped[14:], "gzip-damaged", "damaged", test)
    yield gz("gzip without its trailer", zipped[:-8], "gzip-truncated", "ends too early", test)
    yield gz("gzip cut in its content", zipped[:40], "gzip-truncated", "ends too early", test)
    yield gz("gzip cut in its header", zipped[:5], "gzip-truncated", "ends too early", test)
    yield gz("second gzip cut short", zipped + zipped[:5], "gzip-truncated", "ends too early", test)
    yield gz("text after gzip", zipped + b"hello", "gzip-garbage-after-end", "something else", "nothing after it")
    padded_then_text = zipped + bytes(100) + b"hello"
    yield gz("text after padding", padded_then_text, "gzip-garbage-after-end", "something else", "nothing after it")
    reserved = b"\x1f\x8b\x08\xe0" + zipped[4:]
    yield gz("reserved gzip flags", reserved, "not-gzip", "reserved flags", "archive_format")
    bad_crc = b"\x1f\x8b\x08\x02" + zipped[4:10] + b"\0\0" + zipped[10:]
    yield gz("wrong gzip header checksum", bad_crc, "not-gzip", "wrong checksum in its gzip header", "archive_format")
    long_name = b"\x1f\x8b\x08\x08" + zipped[4:10] + b"x" * 5000 + b"\0" + zipped[10:]
    yield gz("endless gzip name", long_name, "not-gzip", "more than 4096 bytes of name", "archive_format")
    tiny = gzip.compress(b"", mtime=0) * 5000
    yield gz("thousands of empty streams", tiny, "gzip-fragmented", "too many tiny streams", "one stream")
    yield bz("damaged bzip2", bzipped[:20] + b"\xff\xff" + bzipped[22:], "bzip2-damaged", "damaged", test)
    yield bz("bzip2 cut short", bzipped[:-10], "bzip2-truncated", "ends too early", test)
    yield bz("text after bzip2", bzipped + b"hello", "bzip2-garbage-after-end", "something else", "nothing after it")
    tiny = bz2.compress(b"") * 5000
    yield bz("thousands of empty bzip2 streams", tiny, "bzip2-fragmented", "too many tiny streams", "one stream")
    inner = gzip.compress(member() + header("bad", type_=b"2", link="/etc/passwd") + END, mtime=0)
    linked = gz("symbolic link in gzip", inner, "tar-symlink", "'/etc/passwd'", "`tar -h`")
    yield replace(linked, file="bad")
    yield gz("gzip in gzip", gzip.compress(zipped, mtime=0), "not-a-tar", "gzip data", "archive_format")


def _foreign() -> Iterator[Hostile]:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("config.json", "{}" * 300)
    page = b"<!DOCTYPE html><html><body>503 Service Unavailable</body></html>".ljust(600, b" ")
    weights = struct.pack("<Q", 600) + json.dumps({"__metadata__": {}}).encode().ljust(700, b" ")
    for name, content, looks in (
        ("zip", archive.getvalue(), "a zip file"),
        ("gzip", gzip.compress(bytes(range(256)) * 4, mtime=0), "gzip data"),
        ("bzip2", bz2.compress(bytes(range(256)) * 4), "bzip2 data"),
        ("xz", lzma.compress(bytes(range(256)) * 4), "xz data"),
        ("zstd", b"\x28\xb5\x2f\xfd" + bytes(600), "zstd data"),
        ("HTML", page, "an HTML or XML page"),
        ("JSON", b'{"error": "not found"}'.ljust(600), "JSON"),
        ("GGUF", b"GGUF" + bytes(600), "a GGUF model"),
        ("safetensors", weights, "a safetensors file"),
        ("short text", b"hello", "nothing known"),
        ("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
    ):
        yield Hostile(f"{name} as tar", content, "not-a-tar", looks, "archive_format")
        if name != "gzip":
            yield Hostile(f"{name} as tar.gz", content, "not-gzip", looks, "archive_format", format="tar.gz")
        if name != "bzip2":
            yield Hostile(f"{name} as tar.bz2", content, "not-bzip2", looks, "archive_format", format="tar.bz2")
    yield Hostile("tar as tar.gz", GOOD, "not-gzip", "a tar file", "archive_format", format="tar.gz")
