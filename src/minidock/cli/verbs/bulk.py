"""`system start-all`, `stop-all` and `down`: for boot, shutdown and uninstallation.

The first two print the name of each container, or its error; after an error the exit code is 1.
"""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.error_output import print_error
from minidock.errors import MinidockError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.engine.lifecycle.bulk import Report


@command()
def start_all(arguments: tuple[str, ...]) -> int:
    """Start containers according to their restart policies

    Starts containers that have run before: with the policy "always" all of them, with
    "unless-stopped" those that were not stopped manually, with "on-failure" those that exited with
    a code other than 0. The systemd unit minidock.service runs this command at boot.
    """
    from minidock.engine.lifecycle.bulk import start_all as act

    return _tell(act(Store()))


@command()
def stop_all(arguments: tuple[str, ...]) -> int:
    """Stop all running containers, for a shutdown

    Each container gets its own stop signal and timeout. They do not count as stopped manually, so
    "minidock system start-all" restarts those with a restart policy. The systemd unit
    minidock.service runs this command at shutdown.
    """
    from minidock.engine.lifecycle.bulk import stop_all as act

    return _tell(act(Store()))


@command()
def down(arguments: tuple[str, ...]) -> None:
    """Remove the kernel resources that outlive containers

    Removes the bridge and its firewall rules, restores the system settings that minidock changed,
    unmounts the sealed interpreter and removes the parent cgroup of all containers. Images, stopped
    containers and volumes stay; the next container creates the rest again. "install.sh --uninstall"
    runs this command.
    """
    from minidock.engine.lifecycle.system_down import teardown_store

    teardown_store(Store())


def _tell(reports: Iterable[Report]) -> int:
    code = 0
    for container, error in reports:
        if error is None:
            print(container.name, flush=True)
        else:
            print_error(MinidockError(f"{container.name}: {error}", hint=error.hint))
            code = 1
    return code
