"""Resource limits of a process (`--ulimit`): open files, processes, the size of a core file.

They hold for one process and what it starts; the limits of a whole container are its cgroup's.

Source: getrlimit(2).
"""

from __future__ import annotations

import errno
import resource

from minidock.errors import KernelError
from minidock.kernel.op import op

# include/uapi/asm-generic/resource.h; the numbers are the same on x86_64 and arm64.
RLIMITS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip


def _set_rlimit_sh(name: str, *, soft: int, hard: int) -> str:
    word = {"RLIMIT_AS": "as", "RLIMIT_RTPRIO": "rtprio"}.get(name, name[7:].lower())
    return f"prlimit --pid $$ --{word}={soft}:{hard}"


@op("setrlimit(2)", twin=_set_rlimit_sh, family="process")
def set_rlimit(name: str, *, soft: int, hard: int) -> None:
    """Set a resource limit of the container's processes, such as the number of open files.

    Without it: the container has the limits of the user who started it, for example too few open
    files for a database.

    name: a key of RLIMITS. soft, hard: -1 for no limit.
    Raises KernelError: EPERM if hard is above ours and we lack CAP_SYS_RESOURCE, EINVAL.
    """
    try:
        resource.prlimit(0, RLIMITS[name], (soft, hard))
    except (OSError, ValueError) as error:
        # Python raises ValueError for EINVAL (soft above hard) and for EPERM.
        soft_above_hard = hard != -1 and (soft == -1 or soft > hard)
        refused = errno.EINVAL if soft_above_hard else errno.EPERM
        number = getattr(error, "errno", None) or refused
        raise KernelError(
            "setrlimit(2)",
            f"{name} {soft}:{hard}",
            number,
            hint="the hard limit of this machine's root may be lower: see `ulimit -Ha`",
        ) from None
