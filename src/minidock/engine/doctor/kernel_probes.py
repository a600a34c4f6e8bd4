"""Probes of the kernel itself: calls, namespaces, file systems, overlays, seccomp, user namespaces.

Each runs in a child that ends afterwards (probes.py), and calls the functions of `run`.
Sources: those of the functions in kernel/ that are called here.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import NoReturn

from minidock.engine.doctor.child_probe import Tried, in_child, nearest, scratch
from minidock.engine.store.tree_removal import ScratchDirectory
from minidock.errors import MinidockError
from minidock.kernel import keyring, mount, namespace, process
from minidock.kernel.capability import DOCKER_DEFAULT, set_no_new_privs
from minidock.kernel.overlay import mount_overlay
from minidock.kernel.path import open_in_root
from minidock.kernel.seccomp import compile as compile_filter
from minidock.kernel.seccomp import default_profile, load
from minidock.paths import Store

_NOBODY = 65534
_SOME_BYTES = 64 << 10


def calls(_: Store, tried: Tried) -> None:
    """Try newer system calls, which old kernels lack and filters of old containers refuse."""
    with tried("openat2"):
        os.close(open_in_root("/", "proc"))
    with tried("clone3"):
        _reap(namespace.clone_process([], _exit, cgroup_fd=None, as_sibling=False))
    with tried("pidfd_open"):
        pidfd = os.pidfd_open(os.getpid())
    if tried.works("pidfd_open"):
        with tried("pidfd_send_signal"):
            process.send_signal(pidfd, 0, pid=os.getpid())
    with tried("close_range"):
        process.close_on_exec(1 << 20)
    with tried("keyctl"):
        keyring.join_session_keyring("minidock-doctor")


def places(store: Store, tried: Tried) -> None:
    """Create a directory and a file in the store's file system and in /run."""
    for part, place in (("store", store.root), ("run", store.run)):
        with tried(part), ScratchDirectory(".minidock-doctor-", nearest(place)) as made:
            with open(f"{made.path}/file", "wb") as file:
                file.write(bytes(_SOME_BYTES))


def namespaces(_: Store, tried: Tried) -> None:
    """Create each kind of namespace that a container gets."""
    for kind in ("mount", "uts", "ipc", "network", "pid"):
        with tried(kind):
            _reap(namespace.clone_process([kind], _exit, cgroup_fd=None, as_sibling=False))
    with tried("cgroup"):
        namespace.unshare(["cgroup"])


def filesystems(store: Store, tried: Tried) -> None:
    """Mount the file systems of a container, in new namespaces."""

    def mount_all(inner: Tried) -> None:
        with scratch(store) as root:
            for fstype in ("proc", "sysfs", "tmpfs", "devpts", "mqueue"):
                os.mkdir(f"{root}/{fstype}")
                with inner(fstype):
                    mount.mount_filesystem(
                        fstype, root, f"/{fstype}", fstype, flags=mount.MS_NOSUID, data=""
                    )
                mount.unmount(f"{root}/{fstype}", mount.MNT_DETACH)

    with tried("namespaces"):
        namespace.unshare(["mount", "ipc", "network", "pid"])  # the PID one is for children
        mount.set_propagation("/", "rprivate")
    if tried.works("namespaces"):
        tried.parts.update(in_child(mount_all))


def overlay(store: Store, tried: Tried) -> None:
    """Mount an overlay of two layers on the store's file system; write, remove, replace."""
    with tried("mount"):
        _private_mounts()
    with scratch(store) as at:
        for name in ("upper", "work", "merged", "one/old", "two"):
            os.makedirs(f"{at}/{name}")
        open(f"{at}/two/file", "w").close()
        with tried("mount"):
            layers = [f"{at}/two", f"{at}/one"]
            mount_overlay(layers, f"{at}/upper", f"{at}/work", f"{at}/merged")
        if not tried.works("mount"):
            return
        with tried("write"), open(f"{at}/merged/file", "w") as file:
            file.write("copied up")
        with tried("whiteout"):
            os.unlink(f"{at}/merged/file")
            _require_whiteout(f"{at}/upper/file")
        with tried("opaque"):
            os.rmdir(f"{at}/merged/old")
            os.mkdir(f"{at}/merged/old")
            os.getxattr(f"{at}/upper/old", "trusted.overlay.opaque")
        mount.unmount(f"{at}/merged", mount.MNT_DETACH)


def seal(store: Store, tried: Tried) -> None:
    """Create a read-only clone of the interpreter's mount, from which init runs."""
    with tried("clone"):
        _private_mounts()
        with scratch(store) as at:
            target = f"{at}/python"
            open(target, "w").close()
            real = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
            mount.clone_read_only(real, target)
            mount.unmount(target, mount.MNT_DETACH)


def seccomp(store: Store, tried: Tried) -> None:
    """Load the default filter."""
    with scratch(store) as at:
        program = compile_filter(default_profile(list(DOCKER_DEFAULT)), f"{at}/filters")

    def be_filtered(inner: Tried) -> None:
        with inner("filter"):
            set_no_new_privs()
            load(program)

    tried.parts.update(in_child(be_filtered))


def userns(_: Store, tried: Tried) -> None:
    """Create a user namespace for root, and one for an unprivileged user, with capabilities."""
    with tried("root"):
        _reap(namespace.clone_process(["user"], _exit, cgroup_fd=None, as_sibling=False))
    with tried("user"):
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        namespace.unshare(["user"])
    if tried.works("user"):
        with tried("capabilities"):  # AppArmor may remove them there
            namespace.unshare(["mount"])


def _private_mounts() -> None:
    """Create a private mount namespace, from which no mount propagates."""
    namespace.unshare(["mount"])
    mount.set_propagation("/", "rprivate")


def _require_whiteout(path: str) -> None:
    status = os.lstat(path)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != 0:
        raise MinidockError(f"overlayfs made {stat.filemode(status.st_mode)} for a removed file")


def _exit() -> NoReturn:
    os._exit(0)


def _reap(pid: int) -> None:
    os.waitpid(pid, 0)
