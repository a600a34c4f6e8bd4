"""--without: the isolations, what leaving one out changes, and what the user reads about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from minidock.engine.container.bundle import device_rule
from minidock.engine.doctor.virtual import evidence_of_virtual_machine
from minidock.errors import UsageError
from minidock.oci import runtime_config as rc
from minidock.runtime.config_validation import check_config
from minidock.teach.without.isolations import ISOLATIONS, leave_out, parse_isolations
from minidock.teach.without.probes import PROBES
from minidock.teach.without.report import LEAKS, report_text, warning
from support.command import REPOSITORY
from unit.test_init_program import config, names

MATRIX = json.loads((REPOSITORY / "tests/fixtures/without/matrix.json").read_text())


def _host_config(*isolations: str, allowed: bool = True, **host: Any) -> dict[str, Any]:
    body = {"HostConfig": host}
    leave_out(body, list(isolations), is_allowed=lambda: allowed)
    return body["HostConfig"]


# --- which isolations, and what changes ----------------------------------------------------------


def test_isolations_are_read_with_commas_and_repeated_each_once() -> None:
    assert parse_isolations(["net,pid", "pid", " uts "]) == ["pid", "net", "uts"]
    assert parse_isolations([",".join(reversed(ISOLATIONS))]) == list(ISOLATIONS)


@pytest.mark.parametrize("word", ["", "network", "pid,", "PID"])
def test_an_unknown_isolation_is_refused_and_the_hint_lists_all(word: str) -> None:
    with pytest.raises(UsageError, match="unknown isolation") as caught:
        parse_isolations([word])
    assert "pivot_root" in caught.value.hint


@pytest.mark.parametrize(
    ("isolation", "changed"),
    [
        ("pid", {"PidMode": "host"}),
        ("net", {"NetworkMode": "host"}),
        ("uts", {"UTSMode": "host"}),
        ("ipc", {"IpcMode": "host"}),
        ("cgroup", {"CgroupnsMode": "host"}),
        ("seccomp", {"SecurityOpt": ["seccomp=unconfined"]}),
        ("capabilities", {"CapAdd": ["ALL"]}),
        ("masks", {"MaskedPaths": [], "ReadonlyPaths": []}),
        ("devices", {"DeviceCgroupRules": ["a *:* rwm"]}),
        ("mount", {"Annotations": {"minidock.without": "mount"}}),
        ("pivot_root", {"Annotations": {"minidock.without": "pivot_root"}}),
    ],
)
def test_an_omission_is_what_a_flag_of_docker_s_would_set(
    isolation: str, changed: dict[str, Any]
) -> None:
    assert _host_config(isolation) == changed


def test_both_dangerous_ones_go_together() -> None:
    assert _host_config("mount", "pivot_root")["Annotations"] == {
        "minidock.without": "mount,pivot_root"
    }


@pytest.mark.parametrize(
    ("isolation", "host"),
    [
        ("pid", {"PidMode": "container:x"}),
        ("net", {"NetworkMode": "none"}),
        ("ipc", {"IpcMode": "shareable"}),
        ("cgroup", {"CgroupnsMode": "private"}),
        ("seccomp", {"SecurityOpt": ["seccomp={}"]}),
        ("capabilities", {"CapDrop": ["CHOWN"]}),
        ("masks", {"Privileged": True}),
    ],
)
def test_a_flag_that_asks_for_the_opposite_is_refused(isolation: str, host: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--"):
        _host_config(isolation, **host)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_only_the_dangerous_ones_ask_whether_the_machine_may_break(isolation: str) -> None:
    if isolation in ("mount", "pivot_root"):
        with pytest.raises(UsageError, match="not a virtual machine") as caught:
            _host_config(isolation, allowed=False)
        assert "--yes-in-a-vm" in caught.value.hint
    else:
        _host_config(isolation, allowed=False)


# --- what becomes of it in the layers below ------------------------------------------------------


def _without(word: str, *kinds: str) -> dict[str, Any]:
    made = {**config(), "annotations": {"minidock.without": word}}
    if kinds:
        made["linux"] = {**made["linux"], "namespaces": [{"type": kind} for kind in kinds]}
    return made


def test_without_pivot_root_the_root_is_changed_by_chroot_at_the_same_place() -> None:
    usual, changed = names(config()), names(_without("pivot_root"))
    assert "pivot_root" not in changed and "chroot" not in usual
    assert changed.index("mount_filesystem") < changed.index("chroot") < changed.index("mask_path")
    pivot = {"pivot_root", "unmount", "enter_directory", "bind_to_itself", "chroot"}
    assert set(usual) - pivot == set(changed) - pivot, "nothing else is different"


def test_without_a_mount_namespace_the_host_s_root_is_neither_moved_nor_changed() -> None:
    changed = names(_without("mount", "pid", "network", "ipc", "uts", "cgroup"))
    assert not {"pivot_root", "unmount", "set_propagation"} & set(changed)
    assert "chroot" in changed


def test_a_config_without_a_mount_namespace_needs_the_word_for_it() -> None:
    check_config(_without("mount", "pid"))
    for word in ("", "pivot_root"):
        with pytest.raises(UsageError, match="needs a mount namespace"):
            check_config(_without(word, "pid"))


def _config_of(host: dict[str, Any]) -> dict[str, Any]:
    document = {"Config": {"Hostname": "box", "WorkingDir": "/"}, "HostConfig": host}
    return rc.runtime_config(
        document, rootfs="/r", process={}, seccomp=None, mounts=[], namespaces=[], devices=([], []),
        cgroup_path="/c", limits_swap=False,
    )  # fmt: skip


def test_paths_that_are_to_be_masked_are_those_asked_for_and_none_is_none() -> None:
    assert _config_of({})["linux"]["maskedPaths"] == rc.MASKED_PATHS
    assert _config_of({"Privileged": True})["linux"]["readonlyPaths"] == []
    asked = _config_of({"MaskedPaths": [], "ReadonlyPaths": ["/proc/bus"]})["linux"]
    assert (asked["maskedPaths"], asked["readonlyPaths"]) == ([], ["/proc/bus"])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a *:* rwm", {"allow": True, "access": "rwm"}),
        ("c 1:3 mr", {"allow": True, "access": "mr", "type": "c", "major": 1, "minor": 3}),
        ("b 8:* r", {"allow": True, "access": "r", "type": "b", "major": 8}),
    ],
)
def test_a_device_rule_becomes_the_specification_s(text: str, rule: dict[str, Any]) -> None:
    assert device_rule(text) == rule


@pytest.mark.parametrize(
    "text", ["", "c", "c 1:3", "c 1:3 ", "c 1:3 x", "d 1:3 r", "c 1 r", "c 1:-3 r", "c 1:3 r r"]
)
def test_a_device_rule_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid device cgroup rule"):
        device_rule(text)


# --- the report ----------------------------------------------------------------------------------

FACTS: dict[str, Any] = {
    "count": 2, "examples": ["init (1)"], "pid": 7, "names": ["a", "b"], "port": 80, "name": "x",
    "on_the_host": "y", "path": "/c", "paths": ["/proc/keys"], "device": "vda", "bytes": 512,
}  # fmt: skip


def _finding(probe: str, *, leaked: bool) -> dict[str, Any]:
    return {"probe": probe, "leaked": leaked, **FACTS}


def test_each_probe_has_an_isolation_and_a_sentence_and_each_isolation_a_probe() -> None:
    assert set(LEAKS) == {*PROBES, "mounts on the host"}
    assert {isolation for isolation, _ in LEAKS.values()} == set(ISOLATIONS)


@pytest.mark.parametrize("probe", LEAKS)
def test_a_leak_is_reported_under_its_isolation_or_as_another_s(probe: str) -> None:
    isolation, sentence = LEAKS[probe]
    findings = [_finding(name, leaked=name == probe) for name in LEAKS]
    told_lines = report_text([isolation], findings).splitlines()
    assert f"  without {isolation}: {sentence(FACTS)}" in told_lines
    assert isolation not in told_lines[-1] and "still isolated" in told_lines[-1]
    other = "pid" if isolation != "pid" else "net"
    lines = report_text([other], findings).splitlines()
    assert f"  so {isolation} leaks too: {sentence(FACTS)}" in lines
    assert any(line.startswith(f"  without {other}: nothing leaked") for line in lines)


def test_the_warning_names_the_isolations_and_docker_s_flag() -> None:
    text = warning(["pid", "mount"])
    assert text.startswith("minidock: warning: this container is made without pid, mount\n")
    assert "(docker run --pid host)" in text and text.count("docker run") == 1


# --- the table in the docs -----------------------------------------------------------------------


def test_the_docs_show_the_table_that_the_machine_is_tested_against() -> None:
    page = (REPOSITORY / "docs/without.md").read_text()
    rows = dict(re.findall(r"^\| `([\w,]+)` \| (.+?) \|", page, re.MULTILINE))
    assert {isolations: row.split(", ") for isolations, row in rows.items()} == MATRIX


# --- is it a virtual machine? --------------------------------------------------------------------


def _files(**files: str) -> Callable[[str], str | None]:
    return lambda path: files.get(path.strip("/").replace("/", "_").replace("-", "_"))


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"proc_cpuinfo": "flags\t\t: fpu vme hypervisor lahf_lm"}, "cpuinfo"),
        ({"proc_cpuinfo": "flags\t\t: fpu vme lahf_lm"}, ""),
        # a bare machine of a cloud has the cloud's names, and no hypervisor
        ({"proc_cpuinfo": "flags : fpu", "sys_class_dmi_id_sys_vendor": "Amazon EC2"}, ""),
        ({"proc_cpuinfo": "flags : hypervisor", "proc_xen_capabilities": "control_d"}, ""),
        ({"proc_cpuinfo": "Features : fp asimd"}, ""),
        ({"sys_class_dmi_id_sys_vendor": "Apple Virtualization Generic Platform"}, "sys_vendor"),
        ({"sys_class_dmi_id_product_name": "QEMU Virtual Machine"}, "product_name"),
        ({"sys_class_dmi_id_sys_vendor": "LENOVO"}, ""),
        ({"proc_device_tree_hypervisor_compatible": "linux,kvm\0"}, "linux,kvm"),
        ({"proc_device_tree_compatible": "linux,dummy-virt\0"}, "dummy-virt"),
        ({"proc_device_tree_compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0"}, ""),
    ],
)
def test_a_virtual_machine_is_known_by_what_it_says(files: dict[str, str], word: str) -> None:
    answer = evidence_of_virtual_machine(_files(**files))
    assert (word in answer) if word else answer == ""
