"""The kernel's own system call numbers, from its headers: syscall_headers.txt beside this file."""

from __future__ import annotations

from pathlib import Path

HEADERS = Path(__file__).with_name("syscall_headers.txt")
COLUMNS = ["x86_64", "i386", "x32", "arm64", "arm"]


def from_headers() -> dict[str, dict[str, int]]:
    """Each architecture's numbers by name, as its header says."""
    tables: dict[str, dict[str, int]] = {column: {} for column in COLUMNS}
    for line in HEADERS.read_text().splitlines():
        if not line.startswith("#"):
            name, *numbers = line.split()
            for column, number in zip(COLUMNS, numbers, strict=True):
                if number != "-":
                    tables[column][name] = int(number)
    return tables
