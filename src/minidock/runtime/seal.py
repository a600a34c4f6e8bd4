"""The sealed interpreter: a read-only view of Python, for all that enters a container.

A container whose command is /proc/self/exe makes its init execute the host's interpreter again, in
the container's world; and a process inside may hold init's /proc/PID/exe open by O_PATH until init
has gone, then open it again for writing, and so change the host's program (CVE-2019-5736). So init
comes from a monitor that was started through a mount of the interpreter on which nobody, root of
the host included, can write. The mount is made once a boot and kept.

    <run>/sealed/bin/python3      the mount: a clone of the interpreter's own, read-only
    <run>/sealed/pyvenv.cfg       tells the interpreter where its standard library is

Sources: open_tree(2), mount_setattr(2), move_mount(2); PEP 405 for pyvenv.cfg; runc's libcontainer
notes on CVE-2019-5736.
"""

from __future__ import annotations

import os
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def sealed_interpreter(run: str) -> str:
    """The path of the sealed interpreter; the mount is made at the first call after a boot.

    run: the store's directory in /run. Where the interpreter was upgraded since, it is sealed anew.
    Raises KernelError.
    """
    sealed = f"{run}/sealed/bin/python3"
    real = real_interpreter()
    if not is_seal_of(sealed, real):
        make_seal(run, sealed, real)
    return sealed


def real_interpreter() -> str:
    """The file of the interpreter that runs this, outside any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def reexec_sealed(run: str, module: str, arguments: list[str]) -> None:
    """Start this command again out of the sealed interpreter; returns where it runs there already.

    Environment, descriptors and working directory stay as they are.
    Raises KernelError where the interpreter cannot be sealed.
    """
    if not is_sealed():
        sealed = sealed_interpreter(run)
        os.execv(sealed, command(sealed, module, *arguments))


def unseal(run: str) -> None:
    """Take the sealed interpreter away; nothing happens where there is none."""
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


def command(sealed: str, module: str, *arguments: str) -> list[str]:
    """The command line of a module in the sealed interpreter: isolated, without site packages.

    Source of minidock itself is put on the path by hand, since -I and -S leave it out.
    """
    start = (
        f"import sys; sys.path[:0] = {[SOURCE, *_site_packages()]!r}; "
        f"from {module} import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sealed, "-I", "-S", "-c", start, *arguments]


def is_sealed() -> bool:
    """Whether this very process runs out of a sealed interpreter."""
    return _is_read_only("/proc/self/exe")


def _site_packages() -> list[str]:
    """Where the C extensions of python-prctl stand."""
    return [path for path in sys.path if path.endswith("-packages") and path != SOURCE]


def is_seal_of(sealed: str, real: str) -> bool:
    """Whether the sealed interpreter is there, read-only, and made of this one."""
    try:
        there, wanted = os.stat(sealed), os.stat(real)
    except FileNotFoundError:
        return False
    same = (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino)
    return same and _is_read_only(sealed)


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def make_seal(run: str, sealed: str, real: str) -> None:
    """Make the sealed interpreter, once, whoever else tries it at the same time."""
    from minidock.kernel import flock  # once a boot
    from minidock.kernel.mount import MNT_DETACH, clone_read_only, unmount

    os.makedirs(f"{run}/sealed/bin", mode=0o711, exist_ok=True)
    lock = os.open(f"{run}/sealed/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        flock.lock(lock, f"{run}/sealed/lock")
        if is_seal_of(sealed, real):
            return  # another process was quicker
        with open(f"{run}/sealed/pyvenv.cfg", "w", encoding="utf-8") as file:
            file.write(f"home = {os.path.dirname(real)}\n")
        if os.path.exists(sealed):
            unmount(sealed, MNT_DETACH)
        os.close(os.open(sealed, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
        clone_read_only(real, sealed)
    finally:
        os.close(lock)
