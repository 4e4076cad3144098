"""Driving a reader over a file in memory, and watching what it asks for."""

from __future__ import annotations

from typing import TypeVar

from libs.modelfiles.ranges import Range, Reader

T = TypeVar("T")


def read_from(content: bytes, reader: Reader[T]) -> T:
    """Drive `reader` over a file that is wholly in memory."""
    try:
        wanted = next(reader)
        while True:
            wanted = reader.send(content[wanted.start : wanted.start + wanted.length])
    except StopIteration as done:
        result: T = done.value
        return result


def read_watched(content: bytes, reader: Reader[T]) -> tuple[T, list[Range]]:
    """Drive `reader` over `content`. Returns: what it read, and the ranges it asked for, cut to what is there."""
    asked: list[Range] = []

    def watched() -> Reader[T]:
        wanted = next(reader)
        while True:
            part = yield wanted
            asked.append(Range(wanted.start, len(part)))
            try:
                wanted = reader.send(part)
            except StopIteration as done:
                result: T = done.value
                return result

    return read_from(content, watched()), asked
