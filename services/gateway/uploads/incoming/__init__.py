"""Routes that take bytes, by what they take: parts of an archive, files of a directory, streams of files, chunks.

Each attempt is written where no other writes, and counts only by the transaction that records it: of two racing
requests for the same bytes one is recorded, and what the other stored is dropped.
"""
