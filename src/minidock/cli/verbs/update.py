"""`update`: change limits and restart policy of existing containers."""

from __future__ import annotations

from minidock.cli.flags.limits import check_cpus, check_memory, check_weight, update_flags
from minidock.cli.flags.run_flags import restart_policy
from minidock.cli.frame.command import Misuse, command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.failure import for_each
from minidock.cli.frame.pflag import value
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@command("CONTAINER [CONTAINER...]", at_least=1, complete=containers)
@update_flags
@value("--restart", help="Restart policy (no|on-failure[:N]|always|unless-stopped)")
def update(arguments: tuple[str, ...], *, restart: str | None, **flags: Any) -> int:
    """Change the limits and the restart policy of containers"""
    from minidock.engine.lifecycle.update import update as act

    if restart is None and all(given is None for given in flags.values()):
        raise Misuse("you must provide one or more flags when using this command")
    pids = flags.pop("pids_limit")
    flags = {name: flags[name] or _FIELDS_UNSET.get(name, 0) for name in _FIELDS}
    check_memory({**flags, "memory_swappiness": -1}, updates=True)
    check_cpus(flags)
    check_weight(flags)
    changes: Any = {_FIELDS[name]: flags[name] for name in _FIELDS}
    if pids is not None:
        changes["PidsLimit"] = pids
    if restart:
        changes["RestartPolicy"] = restart_policy(restart)
    store = Store()

    def update_one(reference: str) -> str:
        act(store, reference, changes)
        return reference

    return for_each(arguments, update_one)


_FIELDS = {
    "memory": "Memory", "memory_reservation": "MemoryReservation", "memory_swap": "MemorySwap",
    "cpus": "NanoCpus", "cpu_shares": "CpuShares", "cpu_period": "CpuPeriod",
    "cpu_quota": "CpuQuota", "cpuset_cpus": "CpusetCpus", "cpuset_mems": "CpusetMems",
    "blkio_weight": "BlkioWeight",
}  # fmt: skip
_FIELDS_UNSET = {"cpuset_cpus": "", "cpuset_mems": ""}
