"""Init's program is data: what it does, and in which order, can be read without being root."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.errors import UsageError
from minidock.kernel import capability
from minidock.oci import runtime_config as rc
from minidock.runtime import channel
from minidock.runtime.cgroup_mount import VisibleCgroups
from minidock.runtime.config_validation import check_config
from minidock.runtime.inherited import nothing_inherited
from minidock.runtime.init import InitContext, init_program

KINDS = ("mount", "pid", "uts", "ipc", "network", "cgroup")


def config(**process: Any) -> dict[str, Any]:
    spec = rc.process_config(
        terminal=False, user={"uid": 0, "gid": 0}, args=["sh"], environment=["PATH=/bin"],
        cwd="/", capabilities=capability.resolve([], []), no_new_privileges=False,
    )  # fmt: skip
    return {
        "ociVersion": "1.2.0",
        "process": {**spec, **process},
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": rc.default_mounts(shm_bytes=1024, writable_sys=False),
        "linux": {
            "namespaces": [{"type": kind} for kind in KINDS],
            "maskedPaths": rc.MASKED_PATHS,
            "readonlyPaths": rc.READONLY_PATHS,
        },
    }


def names(told: dict[str, Any], filter_program: bytes | None = b"x") -> list[str]:
    ours, theirs = channel.pair()
    context = InitContext(
        rootfs="/rootfs", join_cgroup=print, joined={}, filter_program=filter_program,
        cgroups=VisibleCgroups([], has_namespace=True), inherited=nothing_inherited("box"),
        channel=theirs, start_fifo=9,
    )  # fmt: skip
    found = [step.act.__name__ for step in init_program(told, context)]
    ours.close()
    theirs.close()
    return found


def test_the_isolation_is_set_up_in_order() -> None:
    order = names(config())
    for earlier, later in [
        ("set_not_dumpable", "set_propagation"),
        ("unshare", "mount_filesystem"),
        ("set_propagation", "bind_to_itself"),
        ("mount_filesystem", "pivot_root"),
        ("pivot_root", "make_device"),
        ("make_device", "mask_path"),
        ("mask_path", "set_bounding"),
        ("set_groups", "set_user"),
        ("set_user", "set_capabilities"),
        ("find_command", "wait_for_start"),
        ("wait_for_start", "execute"),
    ]:
        assert order.index(earlier) < order.index(later), (earlier, later)
    assert order[-1] == "execute"


def test_the_host_is_let_go_right_after_the_pivot() -> None:
    order = names(config())
    after = order.index("pivot_root") + 1
    assert order[after : after + 2] == ["set_propagation", "unmount"], "and the host hears nothing"


def test_seccomp_is_loaded_with_privileges_unless_no_new_privs_allows_it_late() -> None:
    early = names(config())
    assert early.index("load") < early.index("set_capabilities")
    late = names(config(noNewPrivileges=True))
    assert late.index("set_no_new_privs") < late.index("wait_for_start") < late.index("load")


def test_a_terminal_is_made_inside() -> None:
    order = names(config(terminal=True))
    assert order.index("pivot_root") < order.index("open_terminal") < order.index("take_terminal")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(vm={"x": 1}), "vm"),
        (lambda c: c["linux"].update(intelRdt={"x": 1}), "intelRdt"),
        (lambda c: c["linux"]["namespaces"].append({"type": "user"}), "user"),
        (lambda c: c["linux"]["namespaces"].append({"type": "pid"}), "twice"),
        (lambda c: c["linux"].update(namespaces=[{"type": "pid"}]), "mount namespace"),
        (lambda c: c["process"].update(args=[]), "args"),
        (lambda c: c["process"].update(cwd="here"), "cwd"),
        (lambda c: c.update(ociVersion="2.0"), "ociVersion"),
        (lambda c: c["linux"].update(sysctl={"vm.swappiness": "1"}), "vm.swappiness"),
        (lambda c: c["mounts"].append({"destination": "x"}), "absolute"),
    ],
)
def test_what_is_not_carried_out_is_refused_by_name(change: Any, named: str) -> None:
    told = config()
    check_config(told)
    change(told)
    with pytest.raises(UsageError, match=named):
        check_config(told)
