"""look: which namespaces a container is in, as its journal says; journals are made up here."""

from __future__ import annotations

from typing import Any

from minidock.teach.look.memberships import memberships_of
from support.made_journal import CLONE, entries

Op = tuple[str, str, dict[str, Any], dict[str, Any]]


def clone(pid: int, *kinds: str) -> Op:
    return ("monitor", "namespace.clone_process", {**CLONE, "namespaces": list(kinds)},
            {"made": pid})  # fmt: skip


def join(actor: str, kind: str, place: str, inode: str, **end: object) -> Op:
    args = {"fd": inode, "namespaces": [kind], "place": place}
    return (actor, "namespace.setns", args, end)


def places(*ops: Op) -> dict[str, str]:
    return {kind: each["place"] for kind, each in memberships_of(entries(*ops)).items()}


def test_what_clone_and_unshare_make_is_its_own_and_the_rest_the_hosts() -> None:
    unshare: Op = ("init", "namespace.unshare", {"namespaces": ["cgroup"]}, {})
    found = memberships_of(entries(clone(7, "pid", "mount"), unshare))
    assert {kind: (each["place"], each["own"], each["at"]) for kind, each in found.items()} == {
        "PID namespace": ("/proc/7/ns/pid", True, 1),
        "mount namespace": ("/proc/7/ns/mnt", True, 1),
        "cgroup namespace": ("/proc/7/ns/cgroup", True, 2),
        "network namespace": ("", False, 1), "UTS namespace": ("", False, 1),
        "IPC namespace": ("", False, 1), "user namespace": ("", False, 1),
    }  # fmt: skip


def test_what_the_monitor_joins_before_it_and_init_after_it_is_anothers() -> None:
    found = memberships_of(entries(
        join("monitor", "pid", "/proc/5/ns/pid", "pid:[55]"),
        clone(7, "mount"),
        join("monitor", "pid", "", "pid:[1]"),
        join("init", "network", "/proc/5/ns/net", "net:[56]"),
    ))  # fmt: skip
    pid, net = found["PID namespace"], found["network namespace"]
    assert (pid["place"], pid["inode"], pid["own"]) == ("/proc/5/ns/pid", "pid:[55]", False)
    assert (net["place"], net["inode"], net["at"]) == ("/proc/5/ns/net", "net:[56]", 4)


def test_a_visit_of_the_monitor_tells_the_inode_and_changes_nothing() -> None:
    found = memberships_of(entries(
        clone(7, "network"),
        join("monitor", "network", "/proc/7/ns/net", "net:[9]"),
        join("monitor", "network", "", "net:[1]"),
    ))  # fmt: skip
    assert found["network namespace"] == {
        "place": "/proc/7/ns/net", "inode": "net:[9]", "own": True, "at": 1,
    }  # fmt: skip


def test_a_visit_elsewhere_before_the_start_is_not_a_membership() -> None:
    visit = join("monitor", "network", "/run/netns/x", "net:[3]")
    back = join("monitor", "network", "", "net:[1]")
    assert places(visit, back, clone(7, "pid"))["network namespace"] == ""


def test_a_second_start_counts_alone_and_a_failed_join_not_at_all() -> None:
    first = [clone(7, "pid", "network"), join("init", "ipc", "/proc/5/ns/ipc", "ipc:[5]")]
    failed = join("init", "uts", "/proc/5/ns/uts", "uts:[5]", errno=1)
    found = places(*first, clone(8, "pid"), failed)
    assert found["PID namespace"] == "/proc/8/ns/pid"
    assert found["IPC namespace"] == found["network namespace"] == found["UTS namespace"] == ""


def test_a_journal_without_an_init_has_none() -> None:
    assert places(("engine", "cgroup.create_directory", {"path": "/x"}, {})) == {}
    assert places(join("exec", "network", "/proc/5/ns/net", "net:[5]")) == {}
