"""The place of our cgroups in the tree of cgroup v2, and how it is prepared.

A container's limits are reliable only in a part of the tree that no other program writes to
(delegation), and where every cgroup above enables the controllers in its subtree_control. Which
part that is depends on the machine:

    systemd is PID 1        it owns the tree. Our cgroups are below a unit with Delegate=yes, which
                            it leaves alone: minidock.slice/minidock-containers.service,
                            started by the first container after a boot
    the tree is writable    it has no owner, as in a VM with a plain init, or it is another
                            container's own part (a cgroup namespace): ours are at its root
    only our own cgroup     that part of the tree was delegated to us: ours are below it
    is writable

This place is called the home. The second and third kind may contain processes, and a cgroup that
enables controllers for its children may not ("no internal processes"; the kernel returns EBUSY).
These processes move to a leaf beside ours, where the same limits apply to them as before, and so
does the main process of systemd's unit. Processes of any other cgroup, such as one named by
--cgroup-parent, are never moved.

Each command determines the home again; a container's own path is recorded in its state.json, so a
command that determines another home still finds the container.

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
LEAF = "init"  # for the processes of the home itself

_UNIT = "minidock-containers"
_ATTEMPTS = 20  # while processes that are moved out fork


def home(slice_name: str = "") -> str:
    """Return the path, relative to the tree's root, below which containers' cgroups are created.

    slice_name: their slice, if systemd runs.
    """
    if systemd.is_running():
        slice_name = slice_name or SLICE
        return f"{systemd.slice_path(slice_name)}/{unit_of(slice_name)}".strip("/")
    if os.access(ROOT, os.W_OK):
        return ""
    own = _given_to_us(own_path(os.getpid()).strip("/"))
    return own if os.access(f"{ROOT}/{own}", os.W_OK) else ""


def _given_to_us(own: str) -> str:
    """Return the cgroup that was delegated to us, even if we have moved to a leaf of it."""
    above, _, last = own.rpartition("/")
    if last == LEAF:
        return above
    return above.rpartition("/")[0] if last == MONITORS else own


def unit_of(slice_name: str) -> str:
    """Return the name of the unit for the containers of a slice."""
    if slice_name == SLICE:
        return f"{_UNIT}.service"
    return f"{_UNIT}-{slice_name.removesuffix('.slice')}.service"


def split(path: str) -> tuple[str, str]:
    """Split a cgroup's path into (home, rest below it); "" is the root of the tree."""
    if not systemd.is_running():
        above = home()
        return (above, path[len(above) + 1 :]) if path.startswith(f"{above}/") else ("", path)
    parts = path.split("/")
    for place, part in enumerate(parts):
        if part.startswith(_UNIT) and part.endswith(".service"):
            return "/".join(parts[: place + 1]), "/".join(parts[place + 1 :])
    return "", path


def prepare(path: str) -> None:
    """Start the systemd unit of a home, unless it is ready.

    Its directory can exist before the unit's process is in it; the leaf is created later.
    Raises MinidockError if systemd refuses.
    """
    if not path.endswith(".service") or os.path.isdir(f"{ROOT}/{path}/{LEAF}"):
        return
    slice_path, _, unit = path.rpartition("/")
    slice_name = slice_path.rpartition("/")[2] or "-.slice"
    systemd.start_delegated_unit(unit, slice_name=slice_name)
    if not os.path.isdir(f"{ROOT}/{path}"):
        raise MinidockError(
            f"systemd has started {unit}, but {ROOT}/{path} does not exist",
            hint="the systemd that answers must be the one whose cgroup tree is mounted here",
        )
    enable_hugetlb(path)
    move_to_leaf(f"{ROOT}/{path}")


def enable_hugetlb(path: str) -> None:
    """Enable for a unit the controller that systemd does not manage: huge pages."""
    directory = ROOT
    for part in path.split("/"):
        if "hugetlb" not in read_file(f"{directory}/cgroup.controllers").split():
            return
        write_file(f"{directory}/cgroup.subtree_control", "+hugetlb")
        directory = f"{directory}/{part}"


def enable_controllers(controllers: list[str], directory: str, *, move_out: bool = False) -> None:
    """Enable these controllers for the cgroups below this directory.

    move_out: this is a home: its own processes move to a leaf.
    Raises KernelError: ENOENT if a controller is not enabled above (systemd may have disabled it
    meanwhile), EBUSY if the directory contains processes.
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
                hint="it joined from outside (docker exec, nsenter): start minidock from there",
            )
        try:
            write_file(f"{leaf}/cgroup.procs", str(pid))
        except KernelError as error:
            if error.errno != ESRCH:  # it has ended
                raise


def own_path(pid: int) -> str:
    """Return a process's path in the v2 tree, seen from our own cgroup namespace (cgroups(7)).

    "/" if it is outside our namespace.
    """
    for line in read_file(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            path = line[3:]
            return "/" if path.startswith("/..") else path
    return "/"
