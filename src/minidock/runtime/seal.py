"""The sealed interpreter: Python on a read-only mount, for every process that enters a container.

A command of /proc/self/exe makes init execute the host's interpreter again, inside the container. A
process there can hold init's /proc/PID/exe open with O_PATH until init exits, then reopen it for
writing, and so overwrite the host's interpreter (CVE-2019-5736). So init is a child of a monitor
that was started from a read-only mount of the interpreter, where not even the host's root can
write. The mount is created once per boot and kept.

    <run>/sealed/bin/python3      a read-only bind mount of the interpreter
    <run>/sealed/pyvenv.cfg       tells the interpreter where its standard library is

Sources: open_tree(2), mount_setattr(2), move_mount(2); PEP 405 for pyvenv.cfg; runc's libcontainer
notes on CVE-2019-5736.
"""

from __future__ import annotations

import os
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def sealed_interpreter(run: str) -> str:
    """Returns the path of the sealed interpreter; the first call after a boot creates the mount.

    run: the store's directory in /run. An upgraded interpreter is sealed again.
    Raises KernelError.
    """
    sealed = f"{run}/sealed/bin/python3"
    real = real_interpreter()
    if not is_seal_of(sealed, real):
        make_seal(run, sealed, real)
    return sealed


def real_interpreter() -> str:
    """The path of the running interpreter, outside any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def reexec_sealed(run: str, module: str, arguments: list[str]) -> None:
    """Re-execute this command in the sealed interpreter; returns if it already runs there.

    Environment, descriptors and working directory stay as they are.
    Raises KernelError if the interpreter cannot be sealed.
    """
    if not is_sealed():
        sealed = sealed_interpreter(run)
        os.execv(sealed, command(sealed, module, *arguments))


def unseal(run: str) -> None:
    """Remove the sealed interpreter; does nothing if it does not exist."""
    from minidock.kernel.mount import MNT_DETACH, unmount

    sealed = f"{run}/sealed/bin/python3"
    while os.path.exists(sealed) and unmount(sealed, MNT_DETACH) != "absent":
        pass
    for path in (sealed, f"{run}/sealed/pyvenv.cfg", f"{run}/sealed/lock"):
        if os.path.exists(path):
            os.unlink(path)
    for path in (f"{run}/sealed/bin", f"{run}/sealed"):
        if os.path.isdir(path):
            os.rmdir(path)


def command(python: str, module: str, *arguments: str) -> list[str]:
    """The command line of a module in an interpreter, the sealed one: isolated, without site.

    The command adds minidock's own source to sys.path, since -I and -S leave it out.
    """
    start = (
        f"import sys; sys.path[:0] = {[SOURCE, *_site_packages()]!r}; "
        f"from {module} import main; sys.exit(main(sys.argv[1:]))"
    )
    return [python, "-I", "-S", "-c", start, *arguments]


def is_sealed() -> bool:
    """Whether this process runs in a sealed interpreter."""
    return _is_read_only("/proc/self/exe")


def _site_packages() -> list[str]:
    """The site-packages directories, for the C extension of python-prctl."""
    return [path for path in sys.path if path.endswith("-packages") and path != SOURCE]


def is_seal_of(sealed: str, real: str) -> bool:
    """Whether the sealed interpreter exists, is read-only, and is this one."""
    try:
        sealed_stat, real_stat = os.stat(sealed), os.stat(real)
    except FileNotFoundError:
        return False
    same = (sealed_stat.st_dev, sealed_stat.st_ino) == (real_stat.st_dev, real_stat.st_ino)
    return same and _is_read_only(sealed)


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def make_seal(run: str, sealed: str, real: str) -> None:
    """Create the sealed interpreter, once, under a lock."""
    from minidock.kernel import flock  # once a boot
    from minidock.kernel.mount import MNT_DETACH, clone_read_only, unmount

    os.makedirs(f"{run}/sealed/bin", mode=0o711, exist_ok=True)
    lock = os.open(f"{run}/sealed/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        flock.lock(lock, f"{run}/sealed/lock")
        if is_seal_of(sealed, real):
            return  # another process was faster
        with open(f"{run}/sealed/pyvenv.cfg", "w", encoding="utf-8") as file:
            file.write(f"home = {os.path.dirname(real)}\n")
        if os.path.exists(sealed):
            unmount(sealed, MNT_DETACH)
        os.close(os.open(sealed, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
        clone_read_only(real, sealed)
    finally:
        os.close(lock)
