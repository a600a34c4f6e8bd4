"""Compiled seccomp filters, asked what they answer; libseccomp is the second opinion."""

from __future__ import annotations

import operator
import tempfile
from typing import Any

import pyseccomp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.errors import UsageError
from minidock.kernel import capability, seccomp, seccomp_filter
from minidock.kernel.libc import MACHINE
from support.bpf import AARCH64, ARM, X86, X86_64, run_filter, run_filter_counting
from support.syscalls import from_headers

ALLOW, KILL, LOG, TRAP = 0x7FFF0000, 0, 0x7FFC0000, 0x30000
EPERM, ENOSYS = 0x50001, 0x50026
X32 = 0x40000000
NUMBERS = seccomp_filter.syscall_numbers()
HERE = {"x86_64": X86_64, "aarch64": 0xC00000B7}[MACHINE]
COLUMN = {"x86_64": 0, "aarch64": 3}[MACHINE]

only_x86 = pytest.mark.skipif(MACHINE != "x86_64", reason="this kernel is not of x86")


def profile(
    *groups: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: Any
) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(groups), **more}


def group(*names: str, action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **more}


def argument(index: int, op: str, value: int, two: int | None = None) -> dict[str, Any]:
    made = {"index": index, "op": f"SCMP_CMP_{op}", "value": value}
    return made if two is None else {**made, "valueTwo": two}


def ask(program: bytes, name: str, *args: int) -> int:
    number = NUMBERS[name][COLUMN]
    assert number is not None
    return run_filter(program, HERE, number, (args + (0,) * 6)[:6])


# What a profile means ----------------------------------------------------------------------------


def test_what_is_named_gets_its_action_and_the_rest_the_default() -> None:
    program = seccomp_filter.assemble(
        profile(
            group("read", "openat"),
            group("bpf", action="SCMP_ACT_ERRNO", errnoRet=95),
            group("mount", action="SCMP_ACT_KILL_PROCESS"),
            group("ptrace", action="SCMP_ACT_TRAP"),
            group("kexec_load", action="SCMP_ACT_LOG"),
            group("openat2"),
        )
    )
    assert ask(program, "read") == ask(program, "openat") == ALLOW
    assert ask(program, "write") == EPERM
    assert ask(program, "bpf") == 0x50000 | 95
    assert ask(program, "mount") == 0x80000000
    assert ask(program, "ptrace") == TRAP
    assert ask(program, "kexec_load") == LOG


def test_a_call_newer_than_the_profile_does_not_exist() -> None:
    program = seccomp_filter.assemble(profile(group("read", "openat2")))
    assert ask(program, "pidfd_getfd") == ENOSYS  # 438; openat2 is 437
    assert ask(program, "mount") == EPERM
    permissive = profile(group("read", action="SCMP_ACT_ERRNO"), default="SCMP_ACT_ALLOW")
    assert ask(seccomp_filter.assemble(permissive), "pidfd_getfd") == ALLOW


def test_an_unconditional_rule_decides_alone() -> None:
    conditional = group("read", args=[argument(0, "EQ", 1)], action="SCMP_ACT_KILL")
    for order in ((conditional, group("read")), (group("read"), conditional)):
        assert ask(seccomp_filter.assemble(profile(*order)), "read", 1) == ALLOW


def test_conditions_on_different_arguments_must_all_hold() -> None:
    both = [argument(0, "EQ", 1), argument(1, "EQ", 2)]
    program = seccomp_filter.assemble(profile(group("read", args=both)))
    assert [ask(program, "read", 1, 2), ask(program, "read", 1, 3)] == [ALLOW, EPERM]


def test_conditions_on_one_argument_are_alternatives() -> None:
    either = [argument(0, "EQ", 1), argument(0, "EQ", 2)]
    program = seccomp_filter.assemble(profile(group("read", args=either)))
    assert [ask(program, "read", n) for n in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]


def test_another_machines_calls_kill() -> None:
    program = seccomp_filter.assemble(profile(group("read")))
    assert run_filter(program, 0x8, 0) == KILL


@only_x86
def test_each_architecture_has_its_own_numbers() -> None:
    program = seccomp_filter.assemble(
        profile(group("getpid"), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    )
    assert run_filter(program, X86_64, 39) == run_filter(program, X86, 20) == ALLOW
    assert run_filter(program, X86_64, X32 | 39) == ALLOW
    assert run_filter(program, X86_64, 20) == run_filter(program, X86, 19) == EPERM


@only_x86
def test_an_architecture_that_is_not_named_is_not_let_in() -> None:
    program = seccomp_filter.assemble(profile(group("getpid")))
    assert run_filter(program, X86, 20) == run_filter(program, X86_64, X32 | 39) == KILL


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters as they are made on a machine of arm64."""
    native = "SCMP_ARCH_AARCH64"
    monkeypatch.setattr(seccomp, "_GO_ARCH", "arm64")
    monkeypatch.setattr(seccomp, "_NATIVE", native)
    monkeypatch.setattr(seccomp_filter, "NATIVE", native)
    monkeypatch.setattr(seccomp_filter, "_COMPATIBLE", (native, "SCMP_ARCH_ARM"))


@pytest.mark.usefixtures("arm64")
def test_on_arm64_programs_of_64_and_of_32_bits_are_filtered() -> None:
    program = seccomp_filter.assemble(seccomp.default_profile(list(capability.DOCKER_DEFAULT)))
    headers = from_headers()
    for arch, column in ((AARCH64, "arm64"), (ARM, "arm")):
        numbers = headers[column]
        allowed = ("getpid", "openat", "execve", "fchmodat2")
        assert {run_filter(program, arch, numbers[name]) for name in allowed} == {ALLOW}
        refused = ("unshare", "mount", "keyctl", "bpf", "add_key", "reboot", "userfaultfd")
        assert {run_filter(program, arch, numbers[name]) for name in refused} == {EPERM}
        assert run_filter(program, arch, numbers["clone3"]) == ENOSYS
        assert run_filter(program, arch, 999) == ENOSYS
    assert run_filter(program, X86_64, 39) == KILL


@pytest.mark.usefixtures("arm64")
def test_arms_private_numbers_do_not_make_a_profile_new() -> None:
    """They are from 0xf0000 on: below them, a 32-bit program finds calls of the future missing."""
    named = group("getpid", "openat2", "set_tls")
    program = seccomp_filter.assemble(profile(named, architectures=["SCMP_ARCH_ARM"]))
    asked = (20, 437, 438, 0xF0001, 0xF0004, 0xF0005, 0xF0006, 436)
    assert [run_filter(program, ARM, number) for number in asked] == [
        ALLOW, ALLOW, ENOSYS, ENOSYS, ENOSYS, ALLOW, ENOSYS, EPERM
    ]  # fmt: skip


def test_the_default_profile_decides_in_few_steps() -> None:
    resolved = seccomp.default_profile(list(capability.DOCKER_DEFAULT))
    program = seccomp_filter.assemble(resolved)
    numbers = [row[COLUMN] for row in NUMBERS.values() if row[COLUMN] is not None]
    steps = [run_filter_counting(program, HERE, n)[1] for n in numbers if n is not None]
    assert max(steps) < 30
    assert sum(steps) / len(steps) < 14


# Against a plain reading, and against libseccomp -------------------------------------------------

EDGES = [0, 1, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 64) - 1]
values = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1))
COMPARE = {
    "NE": operator.ne, "LT": operator.lt, "LE": operator.le, "EQ": operator.eq,
    "GE": operator.ge, "GT": operator.gt,
}  # fmt: skip


def holds(condition: dict[str, Any], args: tuple[int, ...]) -> bool:
    op, given_value = condition["op"].removeprefix("SCMP_CMP_"), args[condition["index"]]
    if op == "MASKED_EQ":
        mask = condition["value"]
        return given_value & mask == condition["valueTwo"] & mask
    return bool(COMPARE[op](given_value, condition["value"]))


@st.composite
def conditions(draw: Any) -> list[dict[str, Any]]:
    indexes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
    made = []
    for index in indexes:
        op = draw(st.sampled_from([*COMPARE, "MASKED_EQ"]))
        two = draw(values) if op == "MASKED_EQ" else None
        made.append(argument(index, op, draw(values), two))
    return made


arguments = st.tuples(*[values] * 6)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(conditions(), min_size=1, max_size=3), st.lists(arguments, min_size=8, max_size=8))
def test_arguments_are_compared_as_64_bit_numbers(
    rules: list[list[dict[str, Any]]], asked: list[tuple[int, ...]]
) -> None:
    groups = [group("read", args=rule) for rule in rules]
    program = seccomp_filter.assemble(profile(*groups, group("openat2")))
    for args in asked:
        wanted = any(all(holds(c, args) for c in rule) for rule in rules)
        assert ask(program, "read", *args) == (ALLOW if wanted else EPERM)


@pytest.mark.slow
@only_x86
@settings(max_examples=150, deadline=None)
@given(conditions(), st.lists(arguments, min_size=8, max_size=8))
def test_libseccomp_compares_the_same_way(
    rule: list[dict[str, Any]], asked: list[tuple[int, ...]]
) -> None:
    """One rule a call: with several, libseccomp 2.6 loses some of them (64-bit LE beside LT)."""
    theirs = pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))
    theirs.add_arch(pyseccomp.Arch.X86)
    theirs.add_arch(pyseccomp.Arch.X32)
    compared = [
        pyseccomp.Arg(c["index"], getattr(pyseccomp, c["op"][9:]), c["value"], c.get("valueTwo", 0))
        for c in rule
    ]
    theirs.add_rule(pyseccomp.ALLOW, "read", *compared)
    with tempfile.TemporaryFile() as file:
        theirs.export_bpf(file)
        file.seek(0)
        exported = file.read()
    every = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    ours = seccomp_filter.assemble(profile(group("read", args=rule), architectures=every))
    for arch, number in ((X86_64, 0), (X86, 3), (X86_64, X32)):
        for args in asked:
            assert run_filter(ours, arch, number, args) == run_filter(exported, arch, number, args)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (profile(group("raed")), "raed"),
        (profile(group("read", action="SCMP_ACT_ALOW")), "SCMP_ACT_ALOW"),
        (profile(group("read", action="SCMP_ACT_NOTIFY")), "SCMP_ACT_NOTIFY"),
        (profile(default="ALLOW"), "ALLOW"),
        (profile(group("read", args=[argument(0, "SAME", 1)])), "SCMP_CMP_SAME"),
        (profile(group("read", args=[argument(6, "EQ", 1)])), "index 6"),
        (profile(group("read", args=[argument(0, "EQ", 1 << 64)])), "64 bits"),
        (profile(group("read", action="SCMP_ACT_ERRNO", errnoRet=65536)), "65536"),
        (profile(group("read", errnoRet=1)), "takes no errnoRet"),
        (profile(architectures=["SCMP_ARCH_VAX"]), "SCMP_ARCH_VAX"),
    ],
)
def test_what_is_unknown_is_refused_by_name(bad: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        seccomp_filter.assemble(bad)


def test_a_filter_that_the_kernel_would_not_take_is_refused() -> None:
    many = [group("read", args=[argument(0, "EQ", n)]) for n in range(1500)]
    with pytest.raises(UsageError, match="the kernel's limit is 4096"):
        seccomp_filter.assemble(profile(*many))


def test_a_long_section_is_jumped_over() -> None:
    many = [group("read", args=[argument(0, "EQ", n)]) for n in range(200)]
    program = seccomp_filter.assemble(profile(*many, group("openat2", "write")))
    assert [ask(program, "read", n) for n in (0, 199, 200)] == [ALLOW, ALLOW, EPERM]
    assert ask(program, "write") == ask(program, "openat2") == ALLOW
