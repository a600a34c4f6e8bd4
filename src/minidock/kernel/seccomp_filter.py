"""The assembler of seccomp filters, from OCI's list of rules to a classic BPF program.

The kernel runs the program at every system call of the container, with this input:

    struct seccomp_data { u32 nr;  u32 arch;  u64 instruction_pointer;  u64 args[6]; }

and acts on its return value. The program has one section per architecture, since numbers differ
between them (a 64-bit process may make 32-bit calls at any time); a section is a binary search over
the numbers, so that any call is decided after about ten instructions; a linear search takes
hundreds:

    load arch;  x86_64? -> its section   x86? -> its section   none of these: kill
    load nr;  nr >= 200?  nr >= 100?  ...  return ALLOW
                                           or: load args[0], compare, return ...

Jumps in BPF only go forward and count instructions, so code is built backwards or as a tree: each
function below returns a list of instructions that is position-independent.

Two details are as in runc. A number above every one that the profile names returns ENOSYS instead
of the default action: programs try a new call and expect that error from an old kernel. And a rule
whose conditions use one argument twice counts as one rule per condition (OR, not AND).

Only seccomp.py uses this module, and only if the compiled filter is not cached.

Sources: seccomp(2); Documentation/userspace-api/seccomp_filter.rst; bpf(4) of the BSDs for classic
BPF; OCI runtime-spec config-linux.md "Seccomp"; linux/audit.h for the AUDIT_ARCH_ values.
"""

from __future__ import annotations

import os
from _struct import pack
from errno import ENOSYS

from minidock import jsontext
from minidock.errors import UsageError
from minidock.kernel.libc import MACHINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from minidock.document_types.runtime_spec import Seccomp, SyscallArgument

    Instruction = tuple[int, int, int, int]  # opcode, skip if true, skip if false, constant
    Code = list[Instruction]

    class Condition(TypedDict):
        """A comparison of one argument; both sides are masked."""

        index: int
        op: str
        value: int
        mask: int

    Rule = tuple[list[Condition], int]  # conditions that must all hold, and what is returned

_LOAD, _RETURN, _AND, _JUMP = 0x20, 0x06, 0x54, 0x05
_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST = 0x15, 0x25, 0x35
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data

_X32_BIT = 0x40000000
_ARM_AUDIT = 0x40000028
_ARM_PRIVATE = 0xF0000  # private calls of 32-bit ARM start here, such as set_tls
_CANCELLED = 0xFFFFFFFF
_KILL_THREAD = 0
_MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS

ACTIONS = {
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,  # | errno
    "SCMP_ACT_TRACE": 0x7FF00000,  # | a number for the tracer
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
COMPARISONS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


class Architecture:
    """One ABI: its AUDIT_ARCH value, its column in syscall_numbers.json, the width of arguments."""

    def __init__(self, audit: int, column: int, *, wide: bool) -> None:
        self.audit = audit
        self.column = column
        self.wide = wide


ARCHITECTURES = {
    "SCMP_ARCH_X86_64": Architecture(0xC000003E, 0, wide=True),
    "SCMP_ARCH_X86": Architecture(0x40000003, 1, wide=False),
    "SCMP_ARCH_X32": Architecture(0xC000003E, 2, wide=False),
    "SCMP_ARCH_AARCH64": Architecture(0xC00000B7, 3, wide=True),
    "SCMP_ARCH_ARM": Architecture(_ARM_AUDIT, 4, wide=False),
}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[MACHINE]
_COMPATIBLE = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}[MACHINE]
_FOREIGN = (
    "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE",
    "S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH", "SHEB",
)  # fmt: skip


def assemble(profile: Seccomp) -> bytes:
    """Assemble the filter of an OCI linux.seccomp, as an array of struct sock_filter.

    Raises UsageError, which names what is unknown or too large.
    """
    default = _value(profile["defaultAction"], profile.get("defaultErrnoRet"))
    names = syscall_numbers()
    rules = _rules_by_name(profile, default, names)
    present = _architectures(profile)
    kill: Code = [(_RETURN, 0, 0, _KILL_THREAD)]
    code: Code = [(_LOAD, 0, 0, _ARCH)]
    for name in present:
        if name == "SCMP_ARCH_X32":
            continue  # the same AUDIT_ARCH as x86_64; a bit of the number distinguishes them
        section = _section(ARCHITECTURES[name], rules, names, default, profile)
        if name == "SCMP_ARCH_X86_64":
            # -1 is not a call: a tracer sets it to cancel one.
            x32 = _choose(_IF_EQUAL, _CANCELLED, [(_RETURN, 0, 0, default)], kill)
            if "SCMP_ARCH_X32" in present:
                x32 = _section(ARCHITECTURES["SCMP_ARCH_X32"], rules, names, default, profile)
            section = _choose(_IF_AT_LEAST, _X32_BIT, x32, section)
        load_and_decide = [(_LOAD, 0, 0, _NR), *section]
        code += _choose(_IF_EQUAL, ARCHITECTURES[name].audit, load_and_decide, [])
    code += kill
    if len(code) > _MOST_INSTRUCTIONS:
        raise UsageError(
            f"seccomp: the filter has {len(code)} instructions; the kernel's limit is 4096",
            hint="use fewer conditions on arguments, or fewer architectures",
        )
    return b"".join(pack("=HBBI", *instruction) for instruction in code)


def syscall_numbers() -> dict[str, list[int | None]]:
    """Return every system call's numbers by name, a column per architecture; None if missing."""
    path = os.path.join(os.path.dirname(__file__), "syscall_numbers.json")
    with open(path, encoding="utf-8") as file:
        found: dict[str, list[int | None]] = jsontext.loads(file.read())
    return found


# From the profile to rules -----------------------------------------------------------------------


def _architectures(profile: Seccomp) -> list[str]:
    """Return the profile's architectures that can run here, always with the machine's own."""
    wanted = profile.get("architectures") or []
    for name in wanted:
        known = name in ARCHITECTURES or name.removeprefix("SCMP_ARCH_") in _FOREIGN
        if not known:
            raise UsageError(f"seccomp: unknown architecture {name!r}")
    return [name for name in _COMPATIBLE if name in wanted or name == NATIVE]


def _rules_by_name(
    profile: Seccomp, default: int, names: dict[str, list[int | None]]
) -> dict[str, list[Rule]]:
    """Return each call's rules in the profile's order; one without conditions decides alone."""
    rules: dict[str, list[Rule]] = {}
    for group in profile.get("syscalls") or []:
        value = _value(group["action"], group.get("errnoRet"))
        alternatives = _alternatives(group.get("args") or [])
        for name in group["names"]:
            if name not in names:
                raise UsageError(
                    f"seccomp: unknown system call {name!r}",
                    hint="names are the kernel's, as in syscalls(2), in lower case",
                )
            if value != default:
                rules.setdefault(name, []).extend((each, value) for each in alternatives)
    for name, known in rules.items():
        final = [rule for rule in known if not rule[0]]
        if final:
            rules[name] = final[:1]
    return rules


def _alternatives(arguments: list[SyscallArgument]) -> list[list[Condition]]:
    """Return lists of conditions, of which one must hold in full.

    All conditions of a rule must hold; if two are about the same argument, each one is enough.
    """
    conditions = [_condition(argument) for argument in arguments]
    indexes = {condition["index"] for condition in conditions}
    if len(indexes) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


def _value(action: str, number: int | None) -> int:
    """Return the filter's return value for an action; errno is EPERM by default."""
    if action == "SCMP_ACT_NOTIFY":
        raise UsageError("seccomp: SCMP_ACT_NOTIFY needs an agent, which minidock does not support")
    if action not in ACTIONS:
        raise UsageError(f"seccomp: unknown action {action!r}")
    if action not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        if number is not None:
            raise UsageError(f"seccomp: {action} takes no errnoRet")
        return ACTIONS[action]
    number = 1 if number is None else number
    if not 0 <= number <= 0xFFFF:
        raise UsageError(f"seccomp: errnoRet {number} does not fit 16 bits")
    return ACTIONS[action] | number


def _condition(argument: SyscallArgument) -> Condition:
    operator = argument["op"].removeprefix("SCMP_CMP_")
    if operator not in COMPARISONS or operator == argument["op"]:
        raise UsageError(f"seccomp: unknown comparison {argument['op']!r}")
    if not 0 <= argument["index"] <= 5:
        raise UsageError(f"seccomp: argument index {argument['index']} is not one of 0 to 5")
    mask, value = 0xFFFFFFFFFFFFFFFF, argument.get("value") or 0
    if operator == "MASKED_EQ":
        mask, value = value, argument.get("valueTwo") or 0
    if not (0 <= value <= 0xFFFFFFFFFFFFFFFF and 0 <= mask <= 0xFFFFFFFFFFFFFFFF):
        raise UsageError(f"seccomp: the value of {argument} does not fit 64 bits")
    return {"index": argument["index"], "op": operator, "value": value & mask, "mask": mask}


# From rules to instructions ----------------------------------------------------------------------


def _section(
    arch: Architecture,
    rules: dict[str, list[Rule]],
    names: dict[str, list[int | None]],
    default: int,
    profile: Seccomp,
) -> Code:
    """Assemble the section of one architecture."""
    decisions: dict[int, Code] = {}
    for name, known in rules.items():
        number = names[name][arch.column]
        if number is not None:
            decisions[number] = _decision(known, default, wide=arch.wide)
    return _search(_ranges(decisions, [(_RETURN, 0, 0, default)], _beyond(arch, names, profile)))


def _beyond(arch: Architecture, names: dict[str, list[int | None]], profile: Seccomp) -> int | None:
    """Return the first number that is newer than the profile; None if the default does not refuse.

    ARM's private calls say nothing about a profile's age. (runc counts them, so its 32-bit programs
    get EPERM for a new call.)
    """
    if profile["defaultAction"] in _PERMISSIVE:
        return None
    mentioned = [
        number
        for group in profile.get("syscalls") or []
        for name in group["names"]
        if (number := names[name][arch.column]) is not None
        and not (arch.audit == _ARM_AUDIT and number >= _ARM_PRIVATE)
    ]
    return max(mentioned) + 1 if mentioned else None


def _ranges(
    decisions: dict[int, Code], otherwise: Code, beyond: int | None
) -> list[tuple[int, Code]]:
    """Split all numbers into ranges with the same decision: (first number, code)."""
    missing: Code = [(_RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS)]
    if beyond is not None:
        decisions = {beyond: missing, **decisions}
    ranges: list[tuple[int, Code]] = [(0, otherwise)]
    for number in sorted(decisions):
        newer = beyond is not None and number >= beyond
        after = (number + 1, missing if newer else otherwise)
        for first, code in ((number, decisions[number]), after):
            if ranges[-1][0] == first:
                ranges.pop()
            if not ranges or ranges[-1][1] != code:
                ranges.append((first, code))
    return ranges


def _search(ranges: list[tuple[int, Code]]) -> Code:
    """Assemble a binary search for the range of the number in the accumulator."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    upper, lower = _search(ranges[middle:]), _search(ranges[:middle])
    return _choose(_IF_AT_LEAST, ranges[middle][0], upper, lower)


def _choose(test: int, constant: int, if_true: Code, if_false: Code) -> Code:
    """Assemble a test and two branches. A conditional jump reaches 255 steps, a plain one any."""
    if len(if_true) <= 255:
        return [(test, 0, len(if_true), constant), *if_true, *if_false]
    return [(test, 1, 0, constant), (_JUMP, 0, 0, len(if_true)), *if_true, *if_false]


def _decision(rules: list[Rule], default: int, *, wide: bool) -> Code:
    """Assemble the rules of one system call in order; the first that matches decides."""
    code: Code = []
    for conditions, value in rules:
        rule: Code = [(_RETURN, 0, 0, value)]
        for condition in reversed(conditions):
            rule = _unless(condition, len(rule), wide=wide) + rule
        code += rule
    return code if not rules[-1][0] else [*code, (_RETURN, 0, 0, default)]


def _unless(condition: Condition, skip: int, *, wide: bool) -> Code:
    """Compare one argument; if the condition fails, skip this many instructions after this code.

    BPF has 32-bit words, so a 64-bit argument is compared in two halves, the high one first.
    """
    low_at = _ARGS + 8 * condition["index"]
    operator = condition["op"]
    high, low = condition["value"] >> 32, condition["value"] & 0xFFFFFFFF
    mask_high, mask_low = condition["mask"] >> 32, condition["mask"] & 0xFFFFFFFF
    load_low: Code = [(_LOAD, 0, 0, low_at)]
    if operator == "MASKED_EQ":
        load_low.append((_AND, 0, 0, mask_low))
    # The low half decides if the high halves are equal (or do not exist).
    test, holds = {
        "EQ": (_IF_EQUAL, True), "MASKED_EQ": (_IF_EQUAL, True), "NE": (_IF_EQUAL, False),
        "GT": (_IF_GREATER, True), "LE": (_IF_GREATER, False),
        "GE": (_IF_AT_LEAST, True), "LT": (_IF_AT_LEAST, False),
    }[operator]  # fmt: skip
    code = [*load_low, (test, 0, skip, low) if holds else (test, skip, 0, low)]
    if not wide:
        return code
    fail, success = skip + len(code), len(code)  # from the last one before the low half
    load_high: Code = [(_LOAD, 0, 0, low_at + 4)]
    if operator == "MASKED_EQ":
        load_high.append((_AND, 0, 0, mask_high))
    if operator in ("EQ", "MASKED_EQ"):
        return [*load_high, (_IF_EQUAL, 0, fail, high), *code]
    if operator == "NE":
        return [*load_high, (_IF_EQUAL, 0, success, high), *code]
    greater, less = (success, fail) if operator in ("GT", "GE") else (fail, success)
    return [*load_high, (_IF_GREATER, greater + 1, 0, high), (_IF_EQUAL, 0, less, high), *code]
