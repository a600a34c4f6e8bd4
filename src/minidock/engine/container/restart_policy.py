"""Restart policies: whether a container that has exited is restarted, and after which pause.

This module only decides; the monitor restarts (engine/monitor/main.py), and after a reboot `system
start-all` does (engine/lifecycle/bulk.py).

    no                never
    on-failure[:N]    after an exit code other than 0, N times at most
    always            after any exit code
    unless-stopped    the same, but a manually stopped one stays stopped, even after a reboot

A user can override a policy in two ways. "Cancelled" applies to this run: after `stop`, or a `kill`
with a terminating signal, no policy restarts it. "Manually stopped" is recorded in the file
manually-stopped beside the container's document, until a user starts it again: only
`unless-stopped` checks it. This is the behaviour of Docker 26.1.

Source: Docker Engine API 1.45 RestartPolicy; moby's restartmanager for the pauses.
"""

from __future__ import annotations

import os

from minidock.engine.store.timestamps import NEVER
from minidock.errors import UsageError
from minidock.signals import SIGKILL, stop_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerConfig, ContainerDocument
    from minidock.document_types.host_config import HostConfig
    from minidock.engine.container.containers import Container
    from minidock.paths import ContainerPaths

NO, ON_FAILURE, ALWAYS, UNLESS_STOPPED = "no", "on-failure", "always", "unless-stopped"
FIRST_PAUSE_MS = 100
LONGEST_PAUSE_MS = 60_000
LONG_RUN_SECONDS = 10.0  # a run this long resets the pause


class Policy:
    """A restart policy.

    name: one of the four. maximum_retry_count: how often `on-failure` tries; 0 for no limit.
    """

    def __init__(self, name: str, maximum_retry_count: int = 0) -> None:
        self.name = name
        self.maximum_retry_count = maximum_retry_count

    def should_restart(self, exit_code: int, restarts: int, *, manually_stopped: bool) -> bool:
        """Whether a container that exited with this code is restarted.

        restarts: how often it was restarted since a user last started it (RestartCount).
        """
        if self.name == ALWAYS:
            return True
        if self.name == UNLESS_STOPPED:
            return not manually_stopped
        if self.name == ON_FAILURE:
            return exit_code != 0 and (
                self.maximum_retry_count == 0 or restarts < self.maximum_retry_count
            )
        return False


def policy_of(host_config: HostConfig) -> Policy:
    """Return the policy of a HostConfig; a missing or empty one is "no"."""
    asked = host_config.get("RestartPolicy") or {}
    return Policy(asked.get("Name") or NO, int(asked.get("MaximumRetryCount") or 0))


def check_policy(host_config: HostConfig) -> None:
    """Raise UsageError for an unknown policy, with dockerd's message."""
    policy = policy_of(host_config)
    if policy.name not in (NO, ON_FAILURE, ALWAYS, UNLESS_STOPPED):
        raise UsageError(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.name != ON_FAILURE and policy.maximum_retry_count:
        negative = " and cannot be negative" if policy.maximum_retry_count < 0 else ""
        raise UsageError(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
            + negative
        )
    if policy.maximum_retry_count < 0:
        raise UsageError("invalid restart policy: maximum retry count cannot be negative")
    if host_config.get("AutoRemove") and policy.name != NO:
        raise UsageError(
            "can't create 'AutoRemove' container with restart policy",
            hint="--rm removes an exited container, --restart restarts it: choose one",
        )


class BackOff:
    """The pauses of consecutive restarts: each twice the one before, up to a minute."""

    def __init__(self) -> None:
        self._ms = 0

    def next_ms(self, ran_seconds: float) -> int:
        """Return the pause after a run of this length."""
        if ran_seconds >= LONG_RUN_SECONDS:
            self._ms = 0
        self._ms = min(self._ms * 2 or FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
        return self._ms


def should_restart(container: Container, exit_code: int) -> bool:
    """Whether its policy restarts a container whose run has just ended."""
    return policy_of(container.host_config).should_restart(
        exit_code,
        container.document["RestartCount"],
        manually_stopped=is_manually_stopped(container.paths),
    )


def should_start_at_boot(document: ContainerDocument, *, manually_stopped: bool) -> bool:
    """Whether this stopped container is started after a reboot.

    One that never ran is not.
    """
    state = document["State"]
    if state["StartedAt"] == NEVER:
        return False
    return policy_of(document["HostConfig"]).should_restart(
        state["ExitCode"], document["RestartCount"], manually_stopped=manually_stopped
    )


def cancels_restart(config: ContainerConfig, number: int) -> bool:
    """Whether a signal from a user means that the container must not be restarted.

    Its stop signal and SIGKILL do; if it has no stop signal of its own, every signal does.
    """
    return not config.get("StopSignal") or number in (SIGKILL, stop_signal(config))


def mark_manually_stopped(container: Container) -> None:
    """Record that a user stopped this container, if a policy might restart it.

    Without a policy no file is created: such a container can be stopped even on a full disk.
    """
    if policy_of(container.host_config).name != NO:
        flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(container.paths.manually_stopped, flags, 0o600))


def clear_manually_stopped(paths: ContainerPaths) -> None:
    """Record that a user started it again."""
    if os.path.exists(paths.manually_stopped):
        os.unlink(paths.manually_stopped)


def is_manually_stopped(paths: ContainerPaths) -> bool:
    """Whether a user stopped this container and has not started it since."""
    return os.path.exists(paths.manually_stopped)
