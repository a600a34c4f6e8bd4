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


def remove_cgroups(parent_name: str) -> None:
    """Remove what `run --cgroup-parent=/NAME` leaves in each hierarchy: conmon's and NAME, empty.

    Never its default, libpod_parent: all podmans of a machine share that.

    Raises OSError (EBUSY) where a conmon of a removed container is still there after a while.
    """
    deadline = time.monotonic() + patience(10)
    for parent in cgroup_directories(parent_name):
        for directory in filter(os.path.isdir, (f"{parent}/conmon", parent)):
            procs = Path(f"{directory}/cgroup.procs")
            while procs.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.rmdir(directory)
