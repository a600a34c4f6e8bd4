"""Two small machines that run what minidock assembles, so that tests can ask for its answers.

`run_filter` is classic BPF on a struct seccomp_data; `run_device_program` the part of eBPF that a
cgroup device program needs. Both know only the instructions that they have met.
"""

from __future__ import annotations

import ctypes
import os
import struct

X86_64, X86 = 0xC000003E, 0x40000003
AARCH64, ARM = 0xC00000B7, 0x40000028


def run_filter(program: bytes, arch: int, nr: int, args: tuple[int, ...] = (0,) * 6) -> int:
    """The value that a seccomp filter returns for one system call."""
    return run_filter_counting(program, arch, nr, args)[0]


def run_filter_counting(
    program: bytes, arch: int, nr: int, args: tuple[int, ...] = (0,) * 6
) -> tuple[int, int]:
    """The value that a filter returns, and how many instructions it took."""
    data = struct.pack("<IIQ6Q", nr, arch, 0, *args)
    at = word = steps = 0
    while True:
        code, if_true, if_false, constant = struct.unpack_from("<HBBI", program, at * 8)
        at, steps = at + 1, steps + 1
        if code == 0x06:
            return constant, steps
        if code == 0x20:
            (word,) = struct.unpack_from("<I", data, constant)
        elif code == 0x54:
            word &= constant
        elif code == 0x05:
            at += constant
        else:
            test = {
                0x15: word == constant,
                0x25: word > constant,
                0x35: word >= constant,
                0x45: bool(word & constant),
            }[code]
            at += if_true if test else if_false


def run_device_program(program: bytes, kind: str, access: str, major: int, minor: int) -> bool:
    """Whether a cgroup device program allows this use of a device ("c", "rw", 1, 3)."""
    bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = struct.pack("<III", bits << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0] * 10
    at = 0
    while True:
        code, pair, offset, constant = struct.unpack_from("<BBhi", program, at * 8)
        left, right, at = pair & 15, pair >> 4, at + 1
        if code == 0x95:
            return registers[0] == 1
        if code == 0x61:
            assert right == 1, "only the context can be read"
            (registers[left],) = struct.unpack_from("<I", context, offset)
        elif code == 0xB4:
            registers[left] = constant
        elif code == 0xBC:
            registers[left] = registers[right]
        elif code == 0x54:
            registers[left] &= constant
        elif code == 0x74:
            registers[left] >>= constant
        else:
            jumps = {
                0x16: registers[left] == constant,
                0x56: registers[left] != constant,
                0x5E: registers[left] != registers[right],
            }[code]
            at += offset if jumps else 0


_PTRACE_DETACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT = 17, 0x4206, 0x4207
_PTRACE_SECCOMP_GET_FILTER = 0x420C
_WALL = 0x40000000


def installed_filter(pid: int) -> bytes:
    """The seccomp filter that the kernel holds for a process (root; the newest, if several)."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long

    def ask(request: int, address: int | None = None, data: int | None = None) -> int:
        result: int = ptrace(request, pid, address, data)
        if result < 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")
        return result

    ask(_PTRACE_SEIZE)
    try:
        ask(_PTRACE_INTERRUPT)
        os.waitpid(pid, _WALL)
        count = ask(_PTRACE_SECCOMP_GET_FILTER, 0)
        program = ctypes.create_string_buffer(count * 8)
        ask(_PTRACE_SECCOMP_GET_FILTER, 0, ctypes.addressof(program))
        return program.raw
    finally:
        ask(_PTRACE_DETACH)
