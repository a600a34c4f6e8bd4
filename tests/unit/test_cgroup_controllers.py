"""Handing controllers down cgroup v2's tree, played on directories: who writes what, and when."""

from __future__ import annotations

from errno import EBUSY, ENOENT
from pathlib import Path

import pytest

from minidock.errors import KernelError
from minidock.kernel import cgroup_delegation
from minidock.kernel.cgroup_v2 import CgroupV2


class Tree:
    """A root and its child "minidock"; writes switch controllers on as the kernel would.

    systemd: called before each write. written: "DIRECTORY: VALUE" of each.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: list[str] = []
        (root / "minidock").mkdir()
        (root / "cgroup.controllers").write_text("cpuset cpu io memory pids rdma\n")
        (root / "cgroup.subtree_control").write_text("memory pids\n")
        (root / "minidock/cgroup.subtree_control").write_text("\n")

    def systemd(self) -> None:
        """Takes nothing back."""

    def write(self, path: str, value: str) -> None:
        self.systemd()
        control = Path(path)
        self.written.append(f"{control.parent.name}: {value}")
        wanted = value.replace("+", "").split()
        if control.parent != self.root:
            above = (self.root / "cgroup.subtree_control").read_text().split()
            if set(wanted) - set(above):
                raise KernelError("write(2)", path, ENOENT)
        control.write_text(" ".join([*control.read_text().split(), *wanted]))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(tmp_path)
    monkeypatch.setattr(
        cgroup_delegation, "write_file", lambda path, value: made.write(path, value)
    )
    return made


def test_only_what_is_missing_is_switched_on_at_each_level(tree: Tree) -> None:
    CgroupV2("minidock", "c1", tree=str(tree.root)).create()
    CgroupV2("minidock", "c2", tree=str(tree.root)).create()
    root = tree.root.name
    assert tree.written == [f"{root}: +cpuset +cpu +io", "minidock: +cpuset +cpu +io +memory +pids"]


def test_what_systemd_takes_back_between_two_steps_is_switched_on_again(tree: Tree) -> None:
    def take_back_once() -> None:
        if len(tree.written) == 1:
            (tree.root / "cgroup.subtree_control").write_text("memory pids\n")

    tree.systemd = take_back_once  # type: ignore[method-assign]
    CgroupV2("minidock", "c1", tree=str(tree.root)).create()
    names = [line.partition(":")[0] for line in tree.written]
    assert names == [tree.root.name, "minidock", tree.root.name, "minidock"]
    handed = (tree.root / "minidock/cgroup.subtree_control").read_text().split()
    assert handed == ["cpuset", "cpu", "io", "memory", "pids"]


def test_a_root_that_holds_processes_is_an_error(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, value: str) -> None:
        raise KernelError("write(2)", path, EBUSY)

    monkeypatch.setattr(cgroup_delegation, "write_file", refuse)
    with pytest.raises(KernelError, match="EBUSY"):
        CgroupV2("minidock", "c1", tree=str(tree.root)).create()
