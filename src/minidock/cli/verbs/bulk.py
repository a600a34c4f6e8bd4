"""`system start-all`, `stop-all` and `down`: for a machine that comes up, and one that goes down.

The first two print one line a container: its name, or what went wrong; then the exit code is 1.
"""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.failure import complain
from minidock.errors import MinidockError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.engine.lifecycle.bulk import Report


@command()
def start_all(arguments: tuple[str, ...]) -> int:
    """Start containers according to their restart policies

    These are the containers with a restart policy that have run before: with "always" each of
    them, with "unless-stopped" those that nobody stopped, with "on-failure" those that ended with
    an exit code other than 0. The systemd unit minidock.service does this at boot.
    """
    from minidock.engine.lifecycle.bulk import start_all as act

    return _tell(act(Store()))


@command()
def stop_all(arguments: tuple[str, ...]) -> int:
    """Stop all running containers, for a shutdown

    Each gets its own stop signal, and its own time. None counts as stopped by somebody, so
    "minidock system start-all" brings back those with a restart policy.
    """
    from minidock.engine.lifecycle.bulk import stop_all as act

    return _tell(act(Store()))


@command()
def down(arguments: tuple[str, ...]) -> None:
    """Remove the kernel resources that outlive containers

    This is the bridge and its firewall rules, the machine's settings where minidock changed them,
    the sealed interpreter's mount, and the cgroup of all containers. Images, stopped containers and
    volumes stay, and the next container makes the rest anew. "install.sh --uninstall" does this.
    """
    from minidock.engine.lifecycle.down import teardown_store

    teardown_store(Store())


def _tell(reports: Iterable[Report]) -> int:
    code = 0
    for container, error in reports:
        if error is None:
            print(container.name, flush=True)
        else:
            complain(MinidockError(f"{container.name}: {error}", hint=error.hint))
            code = 1
    return code
