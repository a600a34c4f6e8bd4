"""podman with all that it keeps in a directory of a test's own.

It leaves its layers' directory mounted on itself there (support.machine.unmount_below).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from support.patience import patience
from support.runtime import cgroup_directories


def command(where: str | Path) -> list[str]:
    """The words that start it: with no --tmpdir all podmans of a machine share /run/libpod."""
    return [
        "podman",
        "--root",
        f"{where}/root",
        "--runroot",
        f"{where}/run",
        "--tmpdir",
        f"{where}/tmp",
    ]


def remove_cgroups() -> None:
    """Remove what it leaves in each hierarchy: conmon's cgroup and the parent of all, both empty.

    Raises OSError (EBUSY) where a conmon of a removed container is still there after a while.
    """
    deadline = time.monotonic() + patience(10)
    for parent in cgroup_directories("libpod_parent"):
        for directory in filter(os.path.isdir, (f"{parent}/conmon", parent)):
            procs = Path(f"{directory}/cgroup.procs")
            while procs.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.rmdir(directory)
