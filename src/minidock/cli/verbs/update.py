"""`update`: change limits and restart policy of existing containers."""

from __future__ import annotations

from minidock.cli.flags.limits import (
    check_cpus,
    check_memory,
    check_weight,
    shared_fields,
    update_flags,
)
from minidock.cli.flags.run_flags import restart_policy
from minidock.cli.frame.command import Misuse, command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.error_output import for_each
from minidock.cli.frame.pflag import value
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from minidock.cli.flags.flag_values import ChangedLimits, SharedLimits


@command("CONTAINER [CONTAINER...]", at_least=1, complete=containers)
@update_flags
@value("--restart", help="Restart policy (no|on-failure[:N]|always|unless-stopped)")
def update(
    arguments: tuple[str, ...], *, restart: str | None, **flags: Unpack[ChangedLimits]
) -> int:
    """Change the limits and the restart policy of containers"""
    from minidock.engine.lifecycle.update import update as act

    if restart is None and all(given is None for given in flags.values()):
        raise Misuse("you must provide one or more flags when using this command")
    limits = _limits(flags)
    check_memory(limits, updates=True)
    check_cpus(limits)
    check_weight(limits)
    changes = shared_fields(limits)
    if flags["pids_limit"] is not None:
        changes["PidsLimit"] = flags["pids_limit"]
    if restart:
        changes["RestartPolicy"] = restart_policy(restart)
    store = Store()

    def update_one(reference: str) -> str:
        act(store, reference, changes)
        return reference

    return for_each(arguments, update_one)


def _limits(flags: ChangedLimits) -> SharedLimits:
    """The limits as `run` has them: 0 or "" for one that was not given."""
    return {
        "memory": flags["memory"] or 0,
        "memory_reservation": flags["memory_reservation"] or 0,
        "memory_swap": flags["memory_swap"] or 0,
        "cpus": flags["cpus"] or 0,
        "cpu_shares": flags["cpu_shares"] or 0,
        "cpu_period": flags["cpu_period"] or 0,
        "cpu_quota": flags["cpu_quota"] or 0,
        "cpuset_cpus": flags["cpuset_cpus"] or "",
        "cpuset_mems": flags["cpuset_mems"] or "",
        "blkio_weight": flags["blkio_weight"] or 0,
    }
