"""look: a journal as things and steps, and as rows of text; journals are made up here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minidock.kernel.capability import NAMES
from minidock.kernel.isolation import ISOLATION, OF_OP
from minidock.teach.journal_reader import load_ops
from minidock.teach.language import language
from minidock.teach.look.changes import EFFECTS
from minidock.teach.look.phrases import phrase_of
from minidock.teach.look.rows import ROWS, rows_of
from minidock.teach.look.scene import Scene
from minidock.teach.look.text import write_text
from minidock.teach.look.thing import OFF, ON, READY, TILES
from minidock.teach.subject import Subject
from minidock.teach.without.isolations import ISOLATIONS
from support.made_journal import CLONE, entries

load_ops()
ROOT = "/store/c/merged"


def scene(*ops: tuple[str, str, dict[str, Any]]) -> Scene:
    return Scene(entries(*((*op, {}) for op in ops)))


def state(scene: Scene, kind: str, name: str = "") -> tuple[int, str]:
    thing = scene.things[kind, name]
    return thing.state, thing.note


def test_there_are_twelve_rows_and_one_for_the_rest() -> None:
    assert len(ISOLATIONS) == 11
    assert ROWS == (*ISOLATIONS, "layers", "other")
    assert {tag for tag in ISOLATION if tag not in ROWS} == {"user", "io", "process"}


@pytest.mark.parametrize(
    ("tags", "rows"),
    [
        (["pid", "net"], ["pid", "net"]),
        (["user"], ["other"]),
        (["io", "process"], ["other"]),
        (["of a later version"], ["other"]),
        ([], ["other"]),
    ],
)
def test_each_operation_is_in_a_row(tags: list[str], rows: list[str]) -> None:
    assert rows_of(tags) == rows


def test_every_op_changes_something_and_no_other_is_in_the_table() -> None:
    declared = {name for name in OF_OP if not name.startswith("test_")}  # other tests declare some
    assert set(EFFECTS) == declared


def test_clone_creates_a_process_its_namespaces_and_a_copy_of_the_hosts_tree() -> None:
    seen = scene(("monitor", "namespace.clone_process", CLONE))
    kinds = [thing.kind for thing, after, _ in seen.steps[0].changes if after == ON]
    assert kinds == ["init", "mount namespace", "PID namespace", "IPC namespace", "UTS namespace",
                     "network namespace", "old root"]  # fmt: skip


def test_a_process_in_the_hosts_mount_namespace_gets_no_copy_of_its_tree() -> None:
    seen = scene(("monitor", "namespace.clone_process", {**CLONE, "namespaces": ["pid"]}))
    assert ("old root", "host's /") not in seen.things


def test_pivot_root_exchanges_the_roots_and_the_unmount_drops_the_hosts() -> None:
    seen = scene(
        ("monitor", "namespace.clone_process", CLONE),
        ("init", "mount.pivot_root", {"new_root": ".", "put_old": "."}),
        ("init", "mount.unmount", {"target": ".", "flags": 2}),
    )
    states = [step.changes[-1][1] for step in seen.steps]
    assert states == [ON, READY, OFF]
    assert state(seen, "root", "/") == (ON, "pivot_root(2)")
    assert phrase_of("pivot_root", seen, str) == "the host's tree is gone from it"


def test_a_mount_point_is_prepared_before_its_mount() -> None:
    point = ("init", "node.make_mount_point", {"root": ROOT, "target": "/proc", "like": ""})
    seen = scene(
        point,
        ("init", "mount.mount_filesystem", {"source": "proc", "root": ROOT, "target": "/proc",
                                            "fstype": "proc", "flags": 0, "data": ""}),
        point,
    )  # fmt: skip
    assert [step.changes[0][1] for step in seen.steps] == [READY, ON, ON]
    assert [thing.name for thing in seen.visible("mount")] == ["/proc"]


def test_the_veth_pair_is_two_things_that_go_together() -> None:
    add = {"where": "", "name": "veth1", "bridge": "br", "peer": "eth0", "mac": "", "pid": 7}
    inside = {"where": "/proc/7/ns/net", "device": "eth0"}
    made = [
        ("monitor", "link.add_veth", add),
        ("monitor", "link.add_address", {**inside, "address": "10.0.0.2", "prefix": 24}),
        ("monitor", "link.set_up", inside),
        ("monitor", "link.set_up", {"where": "", "device": "veth1"}),
    ]
    seen = scene(*made)
    assert state(seen, "interface", "eth0") == (ON, "10.0.0.2/24")
    assert state(seen, "veth", "veth1")[0] == ON
    assert "eth0 10.0.0.2/24" in phrase_of("net", seen, str)
    gone = scene(*made, ("monitor", "link.delete", {"where": "", "device": "veth1"}))
    assert (state(gone, "interface", "eth0")[0], state(gone, "veth", "veth1")[0]) == (OFF, OFF)


def test_layers_are_shown_from_the_topmost_down() -> None:
    lower = ["/s/layers/bbbbbbbbbbbbbbbb/diff", "/s/layers/aaaaaaaaaaaaaaaa/diff"]
    args = {"lowerdirs": lower, "upperdir": "/c/upper", "workdir": "/c/work", "target": ROOT}
    seen = scene(("monitor", "overlay.mount_overlay", args))
    shown = [(thing.name, thing.note) for thing in seen.visible("layer")]
    assert shown == [("b" * 12, "2"), ("a" * 12, "1"), ("upper", "")]


KEEP = ["CAP_CHOWN", "CAP_KILL"]


@pytest.mark.parametrize(
    ("uid", "ambient", "left"), [(0, [], KEEP), (1, [], []), (1, ["CAP_KILL"], ["CAP_KILL"])]
)
def test_capabilities_after_execve_are_as_in_capabilities_7(
    uid: int, ambient: list[str], left: list[str]
) -> None:
    seen = scene(
        ("init", "capability.set_bounding", {"keep": KEEP}),
        ("init", "process.set_user", {"uid": uid, "gid": uid}),
        ("init", "capability.set_capabilities",
         {"effective": KEEP, "permitted": KEEP, "inheritable": []}),
        ("init", "capability.set_ambient", {"names": ambient}),
        ("init", "process.execute", {"path": "/bin/sh", "argv": ["sh"], "environment": []}),
    )  # fmt: skip
    assert len(seen.steps[0].changes) == len(NAMES) - len(KEEP)
    assert [thing.name for thing in seen.visible("capability")] == left


def test_what_was_not_done_changes_nothing() -> None:
    mask = ("init", "mount.mask_path", {"path": "/proc/acpi"})
    assert state(Scene(entries((*mask, {"made": "absent"}))), "mask", "/proc/acpi")[0] == OFF
    assert (
        state(Scene(entries((*mask, {"errno": 1, "said": "no"}))), "mask", "/proc/acpi")[0] == OFF
    )
    assert state(Scene(entries((*mask, {}))), "mask", "/proc/acpi") == (ON, "hidden")


def test_a_removed_cgroup_has_no_process() -> None:
    folder = f"/sys/fs/cgroup/pids/minidock/{'a' * 64}"
    seen = scene(
        ("monitor", "namespace.clone_process", CLONE),
        ("init", "process.execute", {"path": "/bin/sh", "argv": ["sh", "-c"], "environment": []}),
        ("monitor", "cgroup.create_directory", {"path": folder}),
        ("monitor", "cgroup.remove_directory", {"path": folder}),
    )
    assert [seen.visible(kind) for kind in ("init", "command", "host cgroup")] == [[], [], []]
    assert not seen.visible("mount namespace") and not seen.visible("PID namespace")
    assert phrase_of("pid", seen, str) == "its own namespace; PID 1: sh -c"


def test_an_operation_of_another_version_is_a_step_without_a_change() -> None:
    seen = scene(("init", "mount.of_another_version", {"a": 1}), ("init", "mount.pivot_root", {}))
    assert [step.changes == [] for step in seen.steps] == [True, False]
    assert seen.unknown == {"mount.of_another_version"}


def test_a_state_is_that_after_the_last_step() -> None:
    """What the page replays from the changes is what the scene ends with."""
    seen = scene(
        ("monitor", "namespace.clone_process", CLONE),
        ("init", "namespace.set_hostname", {"name": "a"}),
        ("init", "namespace.set_hostname", {"name": "b"}),
        ("monitor", "link.add_bridge", {"where": "", "name": "br", "mac": ""}),
    )
    last = {
        thing.number: (after, note) for step in seen.steps for thing, after, note in step.changes
    }
    for thing in list(seen.things.values())[seen.first :]:
        assert last[thing.number] == (thing.state, thing.note)
    assert state(seen, "name", "hostname") == (ON, "b")
    assert {thing.kind for thing in seen.things.values()} <= set(TILES)


# --- the rows as text ----------------------------------------------------------------------------


def text(
    capsys: pytest.CaptureFixture[str], *unfold: str, name: str = "box", lang: str = "en"
) -> str:
    ops = entries(
        ("monitor", "namespace.clone_process", CLONE, {"made": 7}),
        ("init", "namespace.set_hostname", {"name": name}, {}),
        ("init", "process.set_user", {"uid": 0, "gid": 0}, {}),
    )
    write_text(Subject("box: sh · busybox", {}, ops), unfold, language=language(lang))
    return capsys.readouterr().out


def test_each_row_has_its_count_and_a_phrase(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [line.split(maxsplit=3) for line in text(capsys).splitlines() if line.startswith("+")]
    counts = {row: int(count) for _, row, count, _ in shown}
    assert counts == {"pid": 1, "mount": 1, "net": 1, "uts": 2, "ipc": 1, "other": 1}
    assert ["+", "uts", "2", "its own namespace; hostname box"] in shown


def test_a_row_unfolds_to_its_operations_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    shown = text(capsys, "uts")
    head, inside = shown.split("- uts")
    assert "clone_process" not in head
    wanted = ["clone_process  UTS namespace", "$ unshare ", "set_hostname  name", "$ hostname box"]
    places = [inside.index(word) for word in wanted]
    assert places == sorted(places)


def test_the_rows_are_in_russian_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "своё пространство имён" in text(capsys, lang="ru")


def test_a_name_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = text(capsys, "uts", name="a\x1b[2Jb")
    assert "\x1b" not in shown


def test_a_file_of_the_view_is_short() -> None:
    """The page's files are read in lectures, as the modules are."""
    import minidock.teach.look

    folder = Path(minidock.teach.look.__file__).parent
    files = [path for path in folder.rglob("*.*") if path.suffix != ".pyc"]
    sizes = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {"look.js", "look.css", "look.html", "scene.py"} <= set(sizes)
    assert {name: size for name, size in sizes.items() if size > 250} == {}
