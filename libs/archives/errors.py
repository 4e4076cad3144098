"""The one error of this package: the archive is refused, with a finding that says why."""

from __future__ import annotations

from libs import errors
from libs.archives.paths import displayable
from libs.contracts import Finding, findings


class BadArchive(errors.ArchiveRejected):
    """The archive is refused; `finding` says where, why, and what to do."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.sentence(), retryable=False)


def refusal(rule: str, found: str, fix: str, *, file: str | None = None, offset: int | None = None) -> BadArchive:
    """Build the error to raise.

    `file` is the member's name as in the archive; `offset` is the number of bytes before the fault.
    """
    shown = None if file is None else displayable(file)
    return BadArchive(findings.error(rule, found, fix, file=shown, offset_bytes=offset))
