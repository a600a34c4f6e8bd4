"""Which device nodes a container may create and open: rules in files (v1), or a program (v2).

A device node is only a type, a major and a minor number; a process that may create one with the
numbers of the host's disk can read that disk. A container keeps CAP_MKNOD, so the kernel must check
each mknod and open of a device, by rules of the cgroup:

    v1   the devices controller keeps a list of exceptions; devices.allow and devices.deny edit it
    v2   an eBPF program, attached to the cgroup, decides; we assemble one

Both come from OCI's list of rules, of which the last matching one counts; `reduce_rules` reduces it
to a default and its exceptions.

Sources: the kernel's admin-guide/cgroup-v1/devices.rst and cgroup-v2.rst "Device controller";
bpf(2), bpf-helpers(7), Documentation/bpf/standardization/instruction-set.rst;
include/uapi/linux/bpf.h (struct bpf_cgroup_dev_ctx); OCI runtime-spec config-linux.md "Device
Allowlist"; admin-guide/devices.txt for the numbers.
"""

from __future__ import annotations

import ctypes
import os
from _struct import pack, unpack_from

from minidock.errors import KernelError, UsageError
from minidock.kernel.libc import syscall
from minidock.kernel.op import op, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import DeviceRule, Resources

    Exceptions = dict[tuple[str, int, int], str]  # (type, major, minor) -> access

ANY = -1  # as a major or minor number: all


def _rule(text: str) -> DeviceRule:
    """Parse an allowing rule in the kernel's own notation, such as "c 1:3 rwm"."""
    kind, numbers, access = text.split()
    major, minor = (ANY if word == "*" else int(word) for word in numbers.split(":"))
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


DENY_ALL: DeviceRule = {"allow": False, "type": "a", "major": ANY, "minor": ANY, "access": "rwm"}
ALLOW_ALL: DeviceRule = {**DENY_ALL, "allow": True}

RUNTIME_RULES = [
    _rule("c *:* m"),  # creating any node is harmless as long as it cannot be opened
    _rule("b *:* m"),
    _rule("c 1:3 rwm"),  # null
    _rule("c 1:8 rwm"),  # random
    _rule("c 1:7 rwm"),  # full
    _rule("c 5:0 rwm"),  # tty
    _rule("c 1:5 rwm"),  # zero
    _rule("c 1:9 rwm"),  # urandom
    _rule("c 136:* rwm"),  # pts/*
    _rule("c 5:2 rwm"),  # ptmx
    _rule("c 10:200 rwm"),  # net/tun
]
"""The rules that runc adds to every container, whatever its config says."""


def with_runtime_rules(resources: Resources) -> Resources:
    """Add to OCI's linux.resources the device rules that every container has after its own.

    Only for `create`: an update without devices leaves them unchanged.
    """
    return {**resources, "devices": [*(resources.get("devices") or []), *RUNTIME_RULES]}


DOCKER_RULES = [DENY_ALL, *RUNTIME_RULES, _rule("c 5:1 rwm")]  # and console
"""The devices that a Docker container may use without --device or --privileged."""


def reduce_rules(rules: list[DeviceRule]) -> tuple[bool, Exceptions]:
    """Reduce a list of OCI rules to (allowed by default, exceptions), as cgroup v1 combines them.

    A rule for all devices (type "a" without numbers) sets the default and clears the exceptions. A
    rule that contradicts the default adds an exception; one that agrees with it removes some. v1
    cannot express a part taken out of a wildcard, so that is refused for both versions.
    Raises UsageError, which names the rule.
    """
    default = False
    exceptions: Exceptions = {}
    for rule in rules:
        allow, access = rule["allow"], rule.get("access") or "rwm"
        kinds, major, minor = _checked(rule)
        if kinds == "bc" and major == minor == ANY and set(access) == set("rwm"):
            default, exceptions = allow, {}
            continue
        for kind in kinds:
            key = (kind, major, minor)
            now = set(exceptions.pop(key, ""))
            if allow != default:
                now |= set(access)
            else:
                now -= set(access)
                _refuse_holes(rule, key, exceptions)
            if now:
                exceptions[key] = "".join(letter for letter in "rwm" if letter in now)
    return default, exceptions


def _checked(rule: DeviceRule) -> tuple[str, int, int]:
    """Check a rule; returns its types ("b", "c" or both), major and minor number."""
    kind = rule.get("type") or "a"
    numbers = (rule.get("major"), rule.get("minor"))
    major, minor = (ANY if number is None else number for number in numbers)
    access = rule.get("access") or "rwm"
    if kind not in ("a", "b", "c") or set(access) - set("rwm") or min(major, minor) < ANY:
        raise UsageError(f"invalid device rule {rule}: type is a, b or c; access of r, w and m")
    return "bc" if kind == "a" else kind, major, minor


def _refuse_holes(rule: DeviceRule, key: tuple[str, int, int], exceptions: Exceptions) -> None:
    kind, major, minor = key
    for wide, access in exceptions.items():
        covers = wide[0] == kind and wide[1] in (ANY, major) and wide[2] in (ANY, minor)
        if covers and set(access) & set(rule.get("access") or "rwm") - set("m"):
            raise UsageError(
                f"device rule {rule} takes a part out of the wider {_line(wide, access)!r}",
                hint="give the devices one by one instead of a wildcard",
            )


def _line(key: tuple[str, int, int], access: str) -> str:
    kind, major, minor = key
    return f"{kind} {_star(major)}:{_star(minor)} {access}"


def _star(number: int) -> str:
    return "*" if number == ANY else str(number)


# cgroup v1 ---------------------------------------------------------------------------------------


def v1_writes(rules: list[DeviceRule]) -> list[tuple[str, str, str]]:
    """List the writes that apply these rules: (controller, file, value), in order."""
    if not rules:
        return []
    default, exceptions = reduce_rules(rules)
    everything, others = ("allow", "deny") if default else ("deny", "allow")
    return [
        ("devices", f"devices.{everything}", "a"),
        *[("devices", f"devices.{others}", _line(*item)) for item in exceptions.items()],
    ]


# cgroup v2: the program --------------------------------------------------------------------------
#
# The kernel calls it with r1 -> struct { u32 access << 16 | type; u32 major; u32 minor; } and
# takes the result from r0: 1 allow, 0 refuse (EPERM). One instruction has 8 bytes: opcode, two
# registers, a jump offset, a constant.

_LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
_MOVE = 0xB4  # dst = constant (32 bits)
_COPY = 0xBC  # dst = src
_AND = 0x54  # dst &= constant
_SHIFT_RIGHT = 0x74  # dst >>= constant
_UNLESS_EQUAL = 0x56  # if dst != constant: skip offset instructions
_UNLESS_SAME = 0x5E  # if dst != src: skip
_IF_EQUAL = 0x16  # if dst == constant: skip
_EXIT = 0x95

_ANSWER, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)  # the registers, by their use here
_TYPES = {"b": 1, "c": 2}
_ACCESSES = {"m": 1, "r": 2, "w": 4}


def assemble(rules: list[DeviceRule]) -> bytes:
    """Assemble the rules as the eBPF program that decides about each use of a device."""
    default, exceptions = reduce_rules(rules)
    program = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),
        _instruction(_COPY, _ACCESS, _TYPE),
        _instruction(_AND, _TYPE, constant=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, constant=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for key, access in exceptions.items():
        program += _exception(key, access, allow=not default)
    program += [_instruction(_MOVE, _ANSWER, constant=int(default)), _instruction(_EXIT)]
    return b"".join(program)


def _exception(key: tuple[str, int, int], access: str, *, allow: bool) -> list[bytes]:
    """Assemble one exception: return the result if it matches, else fall through to the next.

    An allowing exception must cover all of the requested access (opening for "rw" needs both); a
    denying one matches if it covers any of it.
    """
    kind, major, minor = key
    bits = sum(_ACCESSES[letter] for letter in access)
    tests = [(_UNLESS_EQUAL, _TYPE, 0, _TYPES[kind])]
    if major != ANY:
        tests.append((_UNLESS_EQUAL, _MAJOR, 0, major))
    if minor != ANY:
        tests.append((_UNLESS_EQUAL, _MINOR, 0, minor))
    # r1 pointed to the context; after the loads it is free for the covered part.
    tests += [(_COPY, _CONTEXT, _ACCESS, 0), (_AND, _CONTEXT, 0, bits)]
    tests.append((_UNLESS_SAME, _CONTEXT, _ACCESS, 0) if allow else (_IF_EQUAL, _CONTEXT, 0, 0))
    answer = [_instruction(_MOVE, _ANSWER, constant=int(allow)), _instruction(_EXIT)]
    jumps = (_UNLESS_EQUAL, _UNLESS_SAME, _IF_EQUAL)
    lines = []
    for place, (code, left, right, constant) in enumerate(tests):
        past_answer = len(tests) - place - 1 + len(answer) if code in jumps else 0
        lines.append(_instruction(code, left, right, past_answer, constant=constant))
    return lines + answer


def _instruction(
    code: int, left: int = 0, right: int = 0, offset: int = 0, *, constant: int = 0
) -> bytes:
    return pack("<BBhi", code, right << 4 | left, offset, constant)


# cgroup v2: bpf(2) -------------------------------------------------------------------------------

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_PROG_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2  # programs of parent cgroups stay in force
_LOG_BYTES = 65536
_MOST_PROGRAMS = 64


def replace_program(directory: str, program: bytes) -> None:
    """Attach a device program to a cgroup, and detach those that were attached before.

    The new one is attached first, so that rules apply at any time.
    """
    before = attached_programs(directory)
    fd = load_program(program)
    try:
        attach_program(directory, fd)
    finally:
        os.close(fd)
    for program_id in before:
        detach_program(directory, program_id)


def attached_programs(directory: str) -> list[int]:
    """Return the ids of the device programs attached to this cgroup itself."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        words = (target, _CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MOST_PROGRAMS, 0)
        attributes = ctypes.create_string_buffer(pack("=IIIIQII", *words), 64)
        _bpf(_PROG_QUERY, attributes, subject=directory)
    finally:
        os.close(target)
    (count,) = unpack_from("=I", attributes.raw, 24)
    return list(ids[:count])


def _load_program_sh(program: bytes) -> str:
    return "bpftool prog load devices.o /sys/fs/bpf/devices type cgroup/dev"


@op("bpf(2)", twin=_load_program_sh)
def load_program(program: bytes) -> int:
    """Load the program that decides about each use of a device; the kernel verifies it now.

    Without it: on cgroup v2 every device node can be opened: with mknod(2), root in the container
    reads the host's disk.

    program: from `assemble`. Returns a file descriptor, which the caller closes.
    Raises KernelError: EPERM without CAP_BPF or CAP_SYS_ADMIN, EINVAL or EACCES by the verifier,
    whose last line becomes the hint.
    """
    try:
        return _load(program, log=None)
    except KernelError as error:
        log = ctypes.create_string_buffer(_LOG_BYTES)  # once more, for the verifier's log
        try:
            return _load(program, log=log)
        except KernelError:
            error.hint = (log.value.decode().strip().splitlines() or [""])[-1]
        raise error from None


def _load(program: bytes, *, log: ctypes.Array[ctypes.c_char] | None) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    license_name = ctypes.create_string_buffer(b"GPL")
    level, size, at = (0, 0, 0) if log is None else (1, len(log), ctypes.addressof(log))
    words = (
        _PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(code),
        ctypes.addressof(license_name), level, size, at, 0, 0, b"minidock",
    )  # fmt: skip
    attributes = ctypes.create_string_buffer(pack("=IIQQIIQII16s", *words), 120)
    return _bpf(_PROG_LOAD, attributes, subject="cgroup device program")


def _attach_program_sh(directory: str, program_fd: int) -> str:
    return (
        f"bpftool cgroup attach {quote(directory)} cgroup_device pinned /sys/fs/bpf/devices multi"
    )


@op("bpf(2)", twin=_attach_program_sh)
def attach_program(directory: str, program_fd: int) -> None:
    """Attach the device program to the container's cgroup: from now on the kernel calls it.

    Without it: the program is loaded, but never called.

    Raises KernelError: EPERM if the program of a parent cgroup forbids others, EINVAL.
    """
    target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        words = (target, program_fd, _CGROUP_DEVICE, _ALLOW_MULTI, 0)
        _bpf(_PROG_ATTACH, ctypes.create_string_buffer(pack("=IIIII", *words)), subject=directory)
    finally:
        os.close(target)


def _detach_program_sh(directory: str, program_id: int) -> str:
    return f"bpftool cgroup detach {quote(directory)} cgroup_device id {program_id}"


@op("bpf(2)", twin=_detach_program_sh)
def detach_program(directory: str, program_id: int) -> None:
    """Detach a device program from a cgroup; it is freed with its last user.

    Without it: the old rules stay in force beside the new ones, and a device that either forbids is
    forbidden.

    Raises KernelError: ENOENT if it is not attached there.
    """
    wanted = ctypes.create_string_buffer(pack("=III", program_id, 0, 0))
    program_fd = _bpf(_PROG_GET_FD_BY_ID, wanted, subject=f"program {program_id}")
    target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        words = (target, program_fd, _CGROUP_DEVICE, 0, 0)
        _bpf(_PROG_DETACH, ctypes.create_string_buffer(pack("=IIIII", *words)), subject=directory)
    finally:
        os.close(target)
        os.close(program_fd)


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char], *, subject: str) -> int:
    return syscall("bpf", command, attributes, len(attributes), subject=subject)
