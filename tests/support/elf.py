"""Programs of a few instructions, for each ABI that a kernel of x86_64 or arm64 runs.

Each makes one system call and exits with its errno, or with 0. They need no libc, so that a 32-bit
one runs where nothing else of 32 bits is installed; and their numbers are the test's, not ours.

Sources: elf(5); syscall(2), "Architecture calling conventions"; the Arm and Intel manuals.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

_BASE = 0x400000
_ALIGNMENT = 0x10000  # kernels of arm64 have pages up to this size


def _x86_64(number: int, *arguments: int) -> bytes:
    loads = (
        b"\xbf",
        b"\xbe",
        b"\xba",
        b"\x41\xba",
        b"\x41\xb8",
    )  # mov edi | esi | edx | r10d | r8d
    return (
        b"".join(load + pack("<I", value) for load, value in zip(loads, arguments, strict=False))
        + b"\xb8" + pack("<I", number) + b"\x0f\x05"  # mov eax, number; syscall
        + b"\xf7\xd8\x79\x02\x31\xc0"  # neg eax; jns over; xor eax, eax
        + b"\x89\xc7\xb8" + pack("<I", 60) + b"\x0f\x05"  # mov edi, eax; exit
    )  # fmt: skip


def _i386(number: int, *arguments: int) -> bytes:
    loads = (b"\xbb", b"\xb9", b"\xba", b"\xbe", b"\xbf")  # mov ebx | ecx | edx | esi | edi
    return (
        b"".join(load + pack("<I", value) for load, value in zip(loads, arguments, strict=False))
        + b"\xb8" + pack("<I", number) + b"\xcd\x80"  # mov eax, number; int 0x80
        + b"\xf7\xd8\x79\x02\x31\xc0"
        + b"\x89\xc3\xb8" + pack("<I", 1) + b"\xcd\x80"
    )  # fmt: skip


def _arm64(number: int, *arguments: int) -> bytes:
    words = []
    for register, value in [*enumerate(arguments), (8, number)]:
        words.append(0xD2800000 | (value & 0xFFFF) << 5 | register)  # movz xR, low
        words.append(0xF2A00000 | (value >> 16) << 5 | register)  # movk xR, high, lsl 16
    words += [
        0xD4000001,  # svc 0
        0xCB0003E0,  # neg x0, x0
        0xF100001F,  # cmp x0, 0
        0x9A9FC000,  # csel x0, x0, xzr, gt
        0xD2800000 | 93 << 5 | 8,  # movz x8, exit
        0xD4000001,
    ]
    return pack(f"<{len(words)}I", *words)


def _arm(number: int, *arguments: int) -> bytes:
    words = []
    for register, value in [*enumerate(arguments), (7, number)]:
        for opcode, half in ((0xE3000000, value & 0xFFFF), (0xE3400000, value >> 16)):
            words.append(opcode | half >> 12 << 16 | register << 12 | half & 0xFFF)  # movw, movt
    words += [
        0xEF000000,  # svc 0
        0xE2700000,  # rsbs r0, r0, 0
        0x43A00000,  # movmi r0, 0
        0xE3A07001,  # mov r7, exit
        0xEF000000,
    ]
    return pack(f"<{len(words)}I", *words)


# ABI -> its code, ELF's name of the machine, flags of the header, and whether it has 64 bits.
_ABIS: dict[str, tuple[Callable[..., bytes], int, int, bool]] = {
    "x86_64": (_x86_64, 62, 0, True),
    "i386": (_i386, 3, 0, False),
    "arm64": (_arm64, 183, 0, True),
    "arm": (_arm, 40, 0x05000000, False),
}
RUN_BY = {"x86_64": ("x86_64", "i386"), "aarch64": ("arm64", "arm")}
"""The ABIs of a machine's kernel: its own, and that of 32 bits, which not every kernel has."""


def one_call(abi: str, number: int, *arguments: int) -> bytes:
    """An executable that makes this system call; arguments: of 32 bits, five at most."""
    make, machine, flags, wide = _ABIS[abi]
    code = make(number, *arguments)
    header, entry = (64, 56) if wide else (52, 32)
    start, size = header + entry, header + entry + len(code)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    word = "Q" if wide else "I"
    made = ident + pack(
        f"<HHI{word}{word}{word}IHHHHHH",
        *(2, machine, 1, _BASE + start, header, 0, flags, header, entry, 1, 0, 0, 0),
    )
    if wide:
        made += pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, _ALIGNMENT)
    else:
        made += pack("<IIIIIIII", 1, 0, _BASE, _BASE, size, size, 5, _ALIGNMENT)
    return made + code
