"""Regular expressions for names and versions from clients, valid for msgspec and for JSON Schema.

Each ends in `$(?!\\n)`, since in Python `$` alone lets a newline follow.
"""

from __future__ import annotations

NAME = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$(?!\n)"  # no control characters, no space at an end
VERSION = r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$(?!\n)"
SHA256 = r"^[0-9a-fA-F]{64}$(?!\n)"
