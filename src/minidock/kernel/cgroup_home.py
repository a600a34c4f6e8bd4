"""Where in cgroup v2's one tree our cgroups may be, and what has to happen before they can.

A container's limits hold only where nobody else writes, and where every cgroup above hands the
controllers down. Who else writes depends on the machine:

    systemd is PID 1        it owns the tree. Ours are below a unit with Delegate=yes, which it
                            promises to leave alone: minidock.slice/minidock-containers.service,
                            started by the first container of a boot
    the tree can be         nobody owns it, as in a VM with a plain init, or it is another
    written to              container's own part (a cgroup namespace): ours are at its root
    only our own cgroup     somebody gave us that part of the tree: ours are below it
    can be written to

The second and third kind of home may have processes in it, and a cgroup that hands controllers
down may not ("no internal processes"; the kernel says EBUSY). They go to a leaf beside ours, where
the same limits are over them as before. So does the keeper of systemd's unit. Processes of any
other cgroup, such as one named by --cgroup-parent, are never moved.

A home is found anew by each command; a container's own place is written down in its state.json, so
commands that find another home still find the container.

Sources: cgroup-v2.rst "No Internal Process Constraint", "Delegation"; systemd's
docs/CGROUP_DELEGATION.md; cgroup_namespaces(7).
"""

from __future__ import annotations

import os
from errno import EBUSY, ESRCH

from minidock.errors import KernelError, MinidockError
from minidock.kernel import systemd
from minidock.kernel.cgroup import (
    MONITORS,
    ROOT,
    create_or_find,
    listed_in,
    read_file,
    write_file,
)

SLICE = "minidock.slice"
LEAF = "init"  # a home's own processes

_UNIT = "minidock-containers"
_ATTEMPTS = 20  # to move out processes that fork meanwhile


def home(slice_name: str = "") -> str:
    """The path, below the root of the tree, under which containers' cgroups are made.

    slice_name: the slice of systemd's that they shall belong to, where systemd runs.
    """
    if systemd.is_running():
        slice_name = slice_name or SLICE
        return f"{systemd.slice_path(slice_name)}/{unit_of(slice_name)}".strip("/")
    if os.access(ROOT, os.W_OK):
        return ""
    own = _given_to_us(own_path(os.getpid()).strip("/"))
    return own if os.access(f"{ROOT}/{own}", os.W_OK) else ""


def _given_to_us(own: str) -> str:
    """The cgroup that somebody gave us, though we have moved on within it."""
    above, _, last = own.rpartition("/")
    if last == LEAF:
        return above
    return above.rpartition("/")[0] if last == MONITORS else own


def unit_of(slice_name: str) -> str:
    """The unit that holds the containers of a slice."""
    if slice_name == SLICE:
        return f"{_UNIT}.service"
    return f"{_UNIT}-{slice_name.removesuffix('.slice')}.service"


def split(path: str) -> tuple[str, str]:
    """A cgroup's path as (its home, the rest below that); "" is the root of the tree."""
    if not systemd.is_running():
        above = home()
        return (above, path[len(above) + 1 :]) if path.startswith(f"{above}/") else ("", path)
    parts = path.split("/")
    for place, part in enumerate(parts):
        if part.startswith(_UNIT) and part.endswith(".service"):
            return "/".join(parts[: place + 1]), "/".join(parts[place + 1 :])
    return "", path


def prepare(path: str) -> None:
    """Have a home made that is a unit of systemd's, and is not ready yet.

    Its directory alone may be there before the unit's process is in it; the leaf is made later.
    Raises MinidockError where systemd refuses.
    """
    if not path.endswith(".service") or os.path.isdir(f"{ROOT}/{path}/{LEAF}"):
        return
    slice_path, _, unit = path.rpartition("/")
    slice_name = slice_path.rpartition("/")[2] or "-.slice"
    systemd.start_delegated_unit(unit, slice_name=slice_name)
    if not os.path.isdir(f"{ROOT}/{path}"):
        raise MinidockError(
            f"systemd has started {unit}, and {ROOT}/{path} is not there",
            hint="the systemd that answers must be the one whose cgroup tree is mounted here",
        )
    hand_down_unknown(path)
    move_to_leaf(f"{ROOT}/{path}")


def hand_down_unknown(path: str) -> None:
    """Hand down to a unit what systemd does not know of, and so never takes back: huge pages."""
    directory = ROOT
    for part in path.split("/"):
        if "hugetlb" not in read_file(f"{directory}/cgroup.controllers").split():
            return
        write_file(f"{directory}/cgroup.subtree_control", "+hugetlb")
        directory = f"{directory}/{part}"


def hand_down(controllers: list[str], directory: str, *, move_out: bool = False) -> None:
    """Give the cgroups below this directory the files of these controllers.

    move_out: this is a home: processes that live in it go to a leaf.
    Raises KernelError: ENOENT where this directory has lost one (systemd may have taken it back
    meanwhile), EBUSY where processes live in it.
    """
    control = f"{directory}/cgroup.subtree_control"
    for _ in range(_ATTEMPTS):
        enabled = read_file(control).split()
        missing = [name for name in controllers if name not in enabled]
        if not missing:
            return
        try:
            return write_file(control, " ".join(f"+{name}" for name in missing))
        except KernelError as error:
            if error.errno != EBUSY or not move_out:
                raise
            busy = error
        move_to_leaf(directory)
    raise busy


def move_to_leaf(directory: str) -> None:
    """Move the processes of a home itself to a leaf below it."""
    leaf = f"{directory}/{LEAF}"
    create_or_find(leaf)
    for pid in listed_in(directory):
        if pid == 0:
            raise MinidockError(
                f"cgroup {directory} holds a process that cannot be seen from here",
                hint="it came in from outside (docker exec, nsenter): start minidock from there",
            )
        try:
            write_file(f"{leaf}/cgroup.procs", str(pid))
        except KernelError as error:
            if error.errno != ESRCH:  # it has ended
                raise


def own_path(pid: int) -> str:
    """Where a process is in the v2 tree, seen from our own cgroup namespace (cgroups(7)).

    "/" where it is outside of what we see.
    """
    for line in read_file(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            path = line[3:]
            return "/" if path.startswith("/..") else path
    return "/"
