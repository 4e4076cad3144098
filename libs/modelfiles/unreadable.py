"""The one error of the format readers: a file does not follow its format."""

from __future__ import annotations

from libs.contracts import Finding, Severity
from libs.errors import Rejected


class Unreadable(Rejected):
    """The file does not follow its format."""

    code = "unreadable_file"

    def __init__(self, rule: str, message: str, fix: str, offset_bytes: int | None = None) -> None:
        """Parameters as in `libs.contracts.Finding`; the reader does not know the name of the file."""
        super().__init__(message)
        self.rule = rule
        self.fix = fix
        self.offset_bytes = offset_bytes

    def finding(self, file: str, severity: Severity = "error") -> Finding:
        """Return the finding about `file`."""
        return Finding(
            rule=self.rule,
            severity=severity,
            message=self.message,
            fix=self.fix,
            file=file,
            offset_bytes=self.offset_bytes,
        )
