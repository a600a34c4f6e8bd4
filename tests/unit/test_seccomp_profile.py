"""Docker's form of a seccomp profile, resolved for one container, and the cache of filters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from minidock.errors import StoreError, UsageError
from minidock.kernel import seccomp, seccomp_filter
from minidock.kernel.libc import MACHINE

ALLOW = "SCMP_ACT_ALLOW"
OURS, OTHER = ("amd64", "arm64") if MACHINE == "x86_64" else ("arm64", "amd64")


def resolved(capabilities: tuple[str, ...] = (), **group: Any) -> list[str]:
    """The names that are left of a one-group profile."""
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": ALLOW, **group}],
    }
    made = seccomp.resolve_profile(profile, list(capabilities))
    assert made is not None
    return [name for each in made["syscalls"] for name in each["names"]]


def test_a_group_without_conditions_stays() -> None:
    assert resolved() == ["read"]


def test_capabilities_all_included_none_excluded() -> None:
    two = {"caps": ["CAP_KILL", "CAP_CHOWN"]}
    assert resolved(("CAP_KILL", "CAP_CHOWN"), includes=two) == ["read"]
    assert resolved(("CAP_KILL",), includes=two) == []
    assert resolved(("CAP_KILL",), excludes=two) == []
    assert resolved((), excludes=two) == ["read"]


def test_architectures() -> None:
    assert resolved(includes={"arches": [OURS]}) == ["read"]
    assert resolved(includes={"arches": [OTHER]}) == []
    assert resolved(excludes={"arches": [OURS]}) == []


@pytest.mark.parametrize("release", ["5.10.0-28-amd64", "5.10", "5.10-rc1"])
def test_kernel_versions(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Uname:
        def __init__(self) -> None:
            self.release = release

    monkeypatch.setattr(os, "uname", Uname)
    assert resolved(includes={"minKernel": "4.8"}) == ["read"]
    assert resolved(includes={"minKernel": "5.10"}) == ["read"]
    assert resolved(includes={"minKernel": "5.11"}) == []
    assert resolved(excludes={"minKernel": "5.9"}) == []


def test_the_default_profile_depends_on_capabilities() -> None:
    def names(*capabilities: str) -> set[str]:
        made = seccomp.default_profile(list(capabilities))
        return {n for g in made["syscalls"] if g["action"] == ALLOW for n in g["names"]}

    assert {"read", "execve", "clone", "ptrace"} <= names()
    assert not {"mount", "bpf", "chroot", "clone3", "keyctl"} & names()
    assert {"mount", "bpf", "clone3", "setns"} <= names("CAP_SYS_ADMIN")
    assert names("CAP_SYS_CHROOT") - names() == {"chroot"}


def test_the_default_profile_names_its_architectures() -> None:
    assert (
        seccomp.default_profile([])["architectures"]
        == {
            "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        }[MACHINE]
    )


def test_an_empty_profile_asks_for_no_filter() -> None:
    assert seccomp.resolve_profile({}, []) is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "x"}]}, "archMap"),
        ({"syscalls": [{"name": "read", "names": ["x"], "action": ALLOW}]}, "'name' and 'names'"),
        ({"syscalls": [{"names": ["read"]}]}, "no action"),
        ({"syscalls": [{"action": ALLOW}]}, "no names"),
        ({"syscalls": [{"names": ["read"], "action": ALLOW, "arg": []}]}, "unknown field 'arg'"),
        ({"syscalls": [{"names": ["read"], "action": ALLOW, "includes": {"cap": []}}]}, "'cap'"),
        ({"default": ALLOW}, "unknown field 'default'"),
        ({"flags": ["SECCOMP_FILTER_FLAG_X"]}, "SECCOMP_FILTER_FLAG_X"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        seccomp.resolve_profile({"defaultAction": "SCMP_ACT_ERRNO", **bad}, [])


def test_a_profile_without_a_default_is_refused() -> None:
    with pytest.raises(UsageError, match="defaultAction"):
        seccomp.resolve_profile({"syscalls": [{"names": ["read"], "action": ALLOW}]}, [])


# The cache ---------------------------------------------------------------------------------------

PROFILE = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": ALLOW}]}


def test_a_filter_is_assembled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seccomp.compile(PROFILE, str(tmp_path / "cache"))

    def never(profile: object) -> bytes:
        raise AssertionError("assembled again")

    monkeypatch.setattr(seccomp_filter, "assemble", never)
    assert seccomp.compile(PROFILE, str(tmp_path / "cache")) == first
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"x", "first", "last"])
def test_a_damaged_entry_is_recreated(damage: bytes | str, tmp_path: Path) -> None:
    good = seccomp.compile(PROFILE, str(tmp_path))
    (entry,) = tmp_path.iterdir()
    content = bytearray(entry.read_bytes())
    if isinstance(damage, str):
        content[0 if damage == "first" else -1] ^= 1
        damage = bytes(content)
    entry.write_bytes(damage)
    assert seccomp.compile(PROFILE, str(tmp_path)) == good
    assert seccomp.compile(PROFILE, str(tmp_path)) == good


def test_another_profile_is_another_entry(tmp_path: Path) -> None:
    seccomp.compile(PROFILE, str(tmp_path))
    seccomp.compile({**PROFILE, "defaultErrnoRet": 2}, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def test_flags_stand_before_the_program(tmp_path: Path) -> None:
    flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]
    assert seccomp.compile({**PROFILE, "flags": flags}, str(tmp_path))[:4] == b"\x03\0\0\0"
    assert seccomp.compile(PROFILE, str(tmp_path))[:4] == b"\x04\0\0\0"


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="seccomp filter"):
        seccomp.compile(PROFILE, str(tmp_path / "file" / "cache"))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
