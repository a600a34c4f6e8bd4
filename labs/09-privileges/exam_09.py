"""Lab 09: the capabilities of the command, and the system calls that its filter refuses.

The sets of capabilities are read from /proc/PID/status. For the filter, small programs are put into
the root file system that make one system call each and end with its errno: whole programs in
machine code, a hundred bytes each, so that no library is needed, and each table can be called by.
Their arguments are such that the kernel, where it is reached, does nothing: it says EFAULT or so.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Process,
    ProgramResult,
    RunningBox,
    Sandbox,
    scene,
)

NUMBERS = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
    "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18,
    "SYS_TIME": 25, "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31,
}  # fmt: skip
DEFAULT = set(NUMBERS) - {"NET_ADMIN", "SYS_TIME"}

MACHINE = os.uname().machine
EPERM, ENOSYS, SIGSYS = 1, 38, 31
FOLDER = "/calls"
LOOP = f'cd {FOLDER}; for call in *; do ./$call; echo "$call $?"; done 2>/dev/null'

# Name: numbers on x86_64 and aarch64, arguments.
CALLS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "getppid": (110, 173, ()),  # for comparison: no filter refuses it
    "mount": (165, 40, (0, 0, 0)),
    "umount2": (166, 39, (0, 0)),
    "pivot_root": (155, 41, (0, 0)),
    "unshare": (272, 97, (0,)),
    "setns": (308, 268, (-1, 0)),
    "open_tree": (428, 428, (-1, 0, 0)),
    "move_mount": (429, 429, (-1, 0, -1)),
    "fsopen": (430, 430, (0, 0)),
    "fsmount": (432, 432, (-1, 0, 0)),
    "ptrace": (101, 117, (1, 0, 0)),  # PTRACE_PEEKTEXT of process 0
    "reboot": (169, 142, (0, 0, 0)),  # without the magic numbers
    "keyctl": (250, 219, (-1, 0, 0)),
    "add_key": (248, 217, (0, 0, 0)),
    "request_key": (249, 218, (0, 0, 0)),
    "clone-uts": (56, 220, (0x4000000 | 17, 0)),  # CLONE_NEWUTS | SIGCHLD
    "clone-user": (56, 220, (0x10000000 | 17, 0)),
    "clone-pid": (56, 220, (0x20000000 | 17, 0)),
    "clone3": (435, 435, (0, 0)),
}
X32_BIT = 0x40000000
CLONES = ("clone-uts", "clone-user", "clone-pid")


# Programs of one call ----------------------------------------------------------------------------


def programs() -> dict[str, bytes]:
    """The programs for this machine, by name."""
    made = {}
    for name, (x86, arm, arguments) in CALLS.items():
        ours = x86_code(x86, arguments) if MACHINE == "x86_64" else arm_code(arm, arguments)
        made[name] = elf(ours)
    if MACHINE == "x86_64":
        made["x32"] = elf(x86_code(272 | X32_BIT, (0,)))
        # unshare by the 32-bit table, whose number is process_vm_readv in the other one
        made["int80"] = elf(x86_code(310, (0,), enter=b"\xcd\x80", registers=(0xBB, 0xB9, 0xBA)))
    return made


def elf(code: bytes) -> bytes:
    """An executable file of the code alone: elf(5), one header and one segment."""
    kind = {"x86_64": 62, "aarch64": 183}[MACHINE]
    base, headers = 0x400000, 64 + 56
    size = headers + len(code)
    head = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0,
        2, kind, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + code


def x86_code(
    number: int,
    arguments: tuple[int, ...],
    *,
    enter: bytes = b"\x0f\x05",
    registers: tuple[int, ...] = (0xBF, 0xBE, 0xBA),
) -> bytes:
    """mov eax, number; mov edi, esi, edx; syscall. Then exit(-result), or exit(0) if it went."""
    code = b"\xb8" + struct.pack("<I", number)
    for register, value in zip(registers, arguments, strict=False):
        code += bytes([register]) + struct.pack("<I", value & 0xFFFFFFFF)
    # xor edi, edi; neg eax; cmovg edi, eax; mov eax, 60; syscall
    return code + enter + bytes.fromhex("31ff f7d8 0f4ff8 b83c000000 0f05")


def arm_code(number: int, arguments: tuple[int, ...]) -> bytes:
    """movz and movk w8, w0, w1, w2; svc. Then exit(-result), or exit(0) if it went well."""
    words = []
    for register, value in ((8, number), *enumerate(arguments)):
        value &= 0xFFFFFFFF
        words.append(0x52800000 | (value & 0xFFFF) << 5 | register)
        words.append(0x72A00000 | (value >> 16) << 5 | register)
    # svc; neg w0, w0; cmp w0, 0; csel w0, w0, wzr, gt; movz w8, 93; svc
    words += [0xD4000001, 0x4B0003E0, 0x7100001F, 0x1A9FC000, 0x52800000 | 93 << 5 | 8, 0xD4000001]
    return struct.pack(f"<{len(words)}I", *words)


# Scenes ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Default:
    """A box without options, and the sandbox for more of them."""

    sandbox: Sandbox
    command: Process

    def another(self, *options: str) -> Process:
        """The command of a box with these options."""
        box: RunningBox = self.sandbox.start_box(*options, self.sandbox.rootfs)
        return box.command


@scene
def default(sandbox: Sandbox) -> Default:
    return Default(sandbox, sandbox.start_box(sandbox.rootfs).command)


@scene
def answers(sandbox: Sandbox) -> dict[str, int]:
    """The exit code of each program, in a box with all capabilities."""
    for name, program in programs().items():
        sandbox.write(f"{sandbox.rootfs}{FOLDER}/{name}", program, 0o755)
    result: ProgramResult = sandbox.run("run", "--cap-add", "ALL", sandbox.rootfs, "sh", "-c", LOOP)
    words = [line.split() for line in result.output.splitlines()]
    found = {line[0]: int(line[1]) for line in words if len(line) == 2 and line[1].isdigit()}
    if found.get("getppid") != 0:
        raise Failure(
            f"programs that call getppid and others do not run in the box: {result.summary()}"
        )
    return found


# Capabilities ------------------------------------------------------------------------------------


def mask(names: set[str]) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def expect(process: Process, field: str, wanted: int) -> str:
    """Compare a capability set of a process. Raises Failure with the differences."""
    has = int(process.status()[field], 16)
    if has == wanted:
        return f"{field} {has:016x}"
    differ = [f"{number} too much" for number in range(64) if (has & ~wanted) >> number & 1]
    differ += [f"{number} missing" for number in range(64) if (wanted & ~has) >> number & 1]
    names = {number: name for name, number in NUMBERS.items()}
    parts = [f"{names.get(int(text.split()[0]), 'capability')} {text}" for text in differ[:3]]
    more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
    raise Failure(f"{field} is {has:016x}, not {wanted:016x}: {', '.join(parts)}{more}")


def default_capabilities(exam: Exam) -> str:
    command = exam.of(default).command
    for field in ("CapInh", "CapAmb"):
        expect(command, field, 0)
    expect(command, "CapPrm", mask(DEFAULT))
    return expect(command, "CapEff", mask(DEFAULT))


def bounding_set(exam: Exam) -> str:
    return expect(exam.of(default).command, "CapBnd", mask(DEFAULT))


def cap_add(exam: Exam) -> str:
    box = exam.of(default)
    command = box.another("--cap-add", "net_admin", "--cap-add", "CAP_SYS_TIME")
    seen = expect(command, "CapEff", mask({*DEFAULT, "NET_ADMIN", "SYS_TIME"}))
    wrong = box.sandbox.run("run", "--cap-add", "EVERYTHING", box.sandbox.rootfs, "true")
    if wrong.exit_code != 125:
        raise Failure(f"--cap-add EVERYTHING, an unknown capability: {wrong.summary()}")
    return f"{seen}; an unknown name ends with 125"


def cap_drop(exam: Exam) -> str:
    command = exam.of(default).another("--cap-drop", "CAP_CHOWN", "--cap-drop", "kill")
    expect(command, "CapBnd", mask(DEFAULT - {"CHOWN", "KILL"}))
    return expect(command, "CapEff", mask(DEFAULT - {"CHOWN", "KILL"}))


def all_capabilities(exam: Exam) -> str:
    box = exam.of(default)
    whole = int(box.sandbox.init.status()["CapBnd"], 16)
    most = box.another("--cap-add", "ALL", "--cap-drop", "SYS_TIME")
    expect(most, "CapEff", whole & ~mask({"SYS_TIME"}))
    least = box.another("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE")
    expect(least, "CapEff", mask({"NET_BIND_SERVICE"}))
    return "all but SYS_TIME, and none but NET_BIND_SERVICE, as asked for"


def no_new_privs(exam: Exam) -> str:
    if exam.of(default).command.status()["NoNewPrivs"] != "1":
        raise Failure("NoNewPrivs is 0: a setuid program in the box gives any user root's rights")
    return "NoNewPrivs is 1"


# The filter --------------------------------------------------------------------------------------


def errno_of(found: dict[str, int], name: str) -> str:
    """Describe the exit code of a program."""
    code = found.get(name)
    if code is None:
        return f"{name} did not run"
    if code == 0:
        return f"{name} succeeded"
    if code > 128:
        return f"{name} was killed by signal {code - 128}"
    return f"{name} reached the kernel: {os.strerror(code)}"


def refused_calls(exam: Exam) -> str:
    found = exam.of(answers)
    names = [name for name in CALLS if "clone" not in name and name != "getppid"]
    open_ones = [name for name in names if found.get(name) != EPERM]
    if open_ones:
        more = f" (and {len(open_ones) - 1} more)" if len(open_ones) > 1 else ""
        raise Failure(f"with all capabilities, {errno_of(found, open_ones[0])}{more}")
    return f"with all capabilities, {len(names)} calls fail with EPERM, and getppid works"


def new_namespaces(exam: Exam) -> str:
    found = exam.of(answers)
    for name in CLONES:
        if found.get(name) != EPERM:
            raise Failure(f"clone with a new {name[6:]} namespace: {errno_of(found, name)}")
    if found.get("clone3") != ENOSYS:
        code = found.get("clone3", "none")
        raise Failure(f"clone3 should fail with ENOSYS: {errno_of(found, 'clone3')}, code {code}")
    return "clone with a new namespace fails with EPERM, clone3 with ENOSYS, fork works"


def other_tables(exam: Exam) -> str:
    found = exam.of(answers)
    if MACHINE != "x86_64":
        return "a 64-bit program of this machine has no other system call table"
    for name, text in (("int80", "unshare by int 0x80"), ("x32", "unshare with bit 30 set")):
        code = found.get(name)
        # SIGSEGV: this kernel has no 32-bit table, and int 0x80 is not a system call.
        if code not in (EPERM, 128 + SIGSYS, 128 + 11 if name == "int80" else EPERM):
            raise Failure(f"{text}: {errno_of(found, name)}")
    return "calls by int 0x80 and with bit 30 set are refused"
