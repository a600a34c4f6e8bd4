"""Restart policies as decisions: who comes back, after which pause, and what is no policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minidock.engine.container import restart_policy
from minidock.engine.store import journal
from minidock.errors import UsageError
from minidock.paths import Store

# policy, exit code, restarts so far, manually stopped -> restarts (what dockerd 26.1 does)
DECISIONS = [
    ("no", 0, 0, 0, False), ("no", 1, 0, 0, False), ("", 1, 0, 0, False),
    ("always", 0, 0, 0, True), ("always", 1, 99, 0, True), ("always", 0, 0, 1, True),
    ("unless-stopped", 0, 0, 0, True), ("unless-stopped", 137, 5, 0, True),
    ("unless-stopped", 137, 0, 1, False),
    ("on-failure", 0, 0, 0, False), ("on-failure", 1, 1000, 0, True),
    ("on-failure", 137, 0, 1, True), ("on-failure:2", 1, 0, 0, True),
    ("on-failure:2", 1, 1, 0, True), ("on-failure:2", 1, 2, 0, False),
    ("on-failure:2", 0, 0, 0, False),
]  # fmt: skip


def host_config(text: str) -> dict[str, Any]:
    name, _, most = text.partition(":")
    return {"RestartPolicy": {"Name": name, "MaximumRetryCount": int(most or 0)}}


@pytest.mark.parametrize(("policy", "code", "restarts", "by_hand", "expected"), DECISIONS)
def test_policy_wants_what_dockers_does(
    policy: str, code: int, restarts: int, by_hand: int, expected: bool
) -> None:
    asked = restart_policy.policy_of(host_config(policy))
    assert asked.should_restart(code, restarts, manually_stopped=bool(by_hand)) is expected


def test_pauses_double_from_100_ms_to_a_minute() -> None:
    back_off = restart_policy.BackOff()
    pauses = [back_off.next_ms(0.1) for _ in range(12)]
    assert pauses[:10] == [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200]
    assert pauses[10:] == [60_000, 60_000]


def test_a_run_of_ten_seconds_resets_the_pauses() -> None:
    back_off = restart_policy.BackOff()
    assert [back_off.next_ms(ran) for ran in (0, 9.9, 10.0, 0)] == [100, 200, 100, 200]


REFUSED = {
    "bogus": "unknown policy 'bogus'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    "Always": "unknown policy 'Always'",
    "always:3": "maximum retry count can only be used with 'on-failure'",
    "no:1": "maximum retry count can only be used with 'on-failure'",
    "unless-stopped:-2": "maximum retry count can only be used with 'on-failure' and cannot be neg",
    "on-failure:-1": "maximum retry count cannot be negative",
}


@pytest.mark.parametrize("policy", REFUSED)
def test_what_is_no_policy_is_refused_in_dockers_words(policy: str) -> None:
    with pytest.raises(UsageError, match="^invalid restart policy: ") as caught:
        restart_policy.check_policy(host_config(policy))
    assert REFUSED[policy] in str(caught.value)


def test_removing_at_the_end_and_restarting_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="can't create 'AutoRemove' container with restart policy"):
        restart_policy.check_policy({**host_config("always"), "AutoRemove": True})
    restart_policy.check_policy({**host_config("no"), "AutoRemove": True})
    restart_policy.check_policy({"AutoRemove": True})


def test_one_that_never_ran_is_not_started_with_the_machine() -> None:
    state = {"StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 0}
    document = {"State": state, "HostConfig": host_config("always"), "RestartCount": 0}
    assert not restart_policy.should_start_at_boot(document, manually_stopped=False)
    state["StartedAt"] = "2026-01-01T00:00:00Z"
    assert restart_policy.should_start_at_boot(document, manually_stopped=False)


@pytest.mark.parametrize(
    ("stop_signal", "number", "expected"),
    [("", 10, True), ("", 9, True), ("SIGTERM", 10, False), ("SIGTERM", 15, True),
     ("SIGTERM", 9, True)],
)  # fmt: skip
def test_which_signals_end_the_policy(stop_signal: str, number: int, expected: bool) -> None:
    assert restart_policy.cancels_restart({"StopSignal": stop_signal}, number) is expected


def test_journal_of_a_container_that_never_stays_up_stays_small(tmp_path: Path) -> None:
    paths = Store(str(tmp_path)).container("c" * 64)
    Path(paths.home).mkdir(parents=True)
    write = journal.start_journal(paths)
    record = "x" * 999 + "\n"
    sizes = []
    for _ in range(20):
        journal.rotate(paths)
        for _ in range(150):
            write(record)
        sizes.append(Path(paths.journal).stat().st_size)
    assert max(sizes) < 1_400_000
    assert min(sizes) == 150_000  # a run is kept as a whole, from its first record on
    assert Path(paths.journal).read_text().startswith("x")
