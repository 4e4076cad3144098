"""What the kernel knows of a process."""

from __future__ import annotations

from pathlib import Path


def peak_bytes(pid: int) -> int:
    """The largest resident size that the process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kib) * 1024
