"""kill -9 of a monitor at every record of a restart by policy.

The container's first run fails and its second one stays, so each case has the end of a run, a pause
and a launch. Then `ps` must tell the truth, `rm -f` must work, and nothing may be left.
"""

from __future__ import annotations

import time

import pytest
from test_crash_records import KINDS, at_each_record

from minidock.engine.container import containers, create
from minidock.engine.lifecycle import start
from minidock.engine.store import container_json
from minidock.errors import MinidockError
from minidock.kernel.cgroup import is_v2
from minidock.paths import Store
from support.crash import Stage
from support.crash_acts import body
from support.patience import patience

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]  # by execnet


def create_one(store: Store) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 1}
    once = "[ -e /ran ] && exec sleep 60; touch /ran; exit 1"
    asked = {**body(RestartPolicy=policy), "Cmd": ["sh", "-c", once]}
    create.create(store, asked, name="web")


def run_until_restarted(store: Store) -> None:
    """Ends when the second run goes on, or when the monitor has died."""
    try:
        start.start(store, "web", attach=None)
    except MinidockError:
        return  # killed in the first launch already
    deadline = time.monotonic() + patience(10)
    while time.monotonic() < deadline:
        (document,) = container_json.list_documents(store)
        found = containers.Container(store, document)
        if found.monitor_pid == 0 or (document["RestartCount"] == 1 and not found.restarting):
            return
        time.sleep(0.005)
    raise AssertionError("it was not restarted")


@pytest.mark.parametrize("kind", KINDS)
def test_restart_is_cut_short_at_every_record(stage: Stage, kind: str) -> None:
    count = at_each_record(
        stage, "monitor", kind, run_until_restarted, before=create_one, bears_monitor=True
    )
    # Both launches, and the end of the first run between them.
    assert count >= (45 if is_v2() else 80)
