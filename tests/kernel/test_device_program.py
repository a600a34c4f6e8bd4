"""The eBPF program that guards devices on cgroup v2: the kernel takes it and obeys it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.errors import KernelError
from minidock.kernel import cgroup, cgroup_tree, device_cgroup
from minidock.kernel.cgroup_v2 import CgroupV2
from minidock.paths import Store

pytestmark = pytest.mark.root
READ, WRITE, BOTH = os.O_RDONLY, os.O_WRONLY, os.O_RDWR


def _v2_tree() -> str:
    if cgroup.is_v2():
        return cgroup.ROOT
    from minidock.kernel.cgroup_v1 import trees

    if "" not in trees():
        pytest.skip("this kernel has no cgroup v2 mounted")
    return trees()[""]


@pytest.fixture
def group(store: Store) -> Iterator[CgroupV2]:
    made = CgroupV2(store.cgroup_parent, "guarded", tree=_v2_tree())
    made.create()
    yield made
    made.kill_all()
    made.remove()
    cgroup_tree.remove_parent(store.cgroup_parent)


@pytest.fixture
def node(store: Store) -> Callable[[str, int, int], str]:
    """Makes a device node, from outside; not in /tmp, which systemd mounts with nodev."""

    def make(kind: str, major: int, minor: int) -> str:
        path = Path(store.root, f"{kind}{major}-{minor}")
        if not path.exists():
            mode = stat.S_IFCHR if kind == "c" else stat.S_IFBLK
            os.mknod(path, mode | 0o600, os.makedev(major, minor))
        return str(path)

    return make


def inside(group: CgroupV2, act: Callable[[], object]) -> str:
    """The errno's name with which an act in the cgroup fails, or "done"."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            group.join()
            act()
            os.write(writer, b"done")
        except OSError as error:
            os.write(writer, errno.errorcode[error.errno or 0].encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().decode()


def test_docker_devices_open_and_others_do_not(
    group: CgroupV2, node: Callable[[str, int, int], str]
) -> None:
    group.apply({"devices": device_cgroup.DOCKER_RULES})
    assert inside(group, lambda: os.open(node("c", 1, 3), BOTH)) == "done"  # null
    assert inside(group, lambda: os.open(node("c", 1, 9), READ)) == "done"  # urandom
    assert inside(group, lambda: os.open(node("c", 1, 1), READ)) == "EPERM"  # mem
    assert inside(group, lambda: os.open(node("c", 1, 11), WRITE)) == "EPERM"  # kmsg
    assert inside(group, lambda: os.open(node("b", 8, 0), READ)) == "EPERM"  # a disk


def test_making_a_node_is_a_permission_of_its_own(group: CgroupV2, tmp_path: Path) -> None:
    def make() -> None:
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
        os.unlink(tmp_path / "disk")

    group.apply({"devices": device_cgroup.DOCKER_RULES})
    assert inside(group, make) == "done"
    group.apply({"devices": [device_cgroup.DENY_ALL]})
    assert inside(group, make) == "EPERM"


def test_reading_only_is_not_writing(group: CgroupV2, node: Callable[[str, int, int], str]) -> None:
    only_read = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}
    group.apply({"devices": [device_cgroup.DENY_ALL, only_read]})
    null = node("c", 1, 3)  # made here: the rules forbid it inside
    assert inside(group, lambda: os.open(null, READ)) == "done"
    assert inside(group, lambda: os.open(null, BOTH)) == "EPERM"


def test_a_privileged_container_is_asked_nothing(
    group: CgroupV2, node: Callable[[str, int, int], str]
) -> None:
    group.apply({"devices": [device_cgroup.DENY_ALL, device_cgroup.ALLOW_ALL]})
    assert inside(group, lambda: os.open(node("c", 1, 11), WRITE)) == "done"


def test_new_rules_take_the_place_of_the_old(group: CgroupV2) -> None:
    group.apply({"devices": device_cgroup.DOCKER_RULES})
    (first,) = device_cgroup.attached_programs(group.directory)
    group.apply({"devices": device_cgroup.DOCKER_RULES})
    (second,) = device_cgroup.attached_programs(group.directory)
    assert first != second
    device_cgroup.detach_program(group.directory, second)
    assert device_cgroup.attached_programs(group.directory) == []


def test_the_verifiers_reason_is_the_hint() -> None:
    endless = device_cgroup._instruction(0x05, offset=-1)  # jump to itself
    with pytest.raises(KernelError, match=r"bpf\(2\)") as caught:
        device_cgroup.load_program(endless)
    assert caught.value.hint
