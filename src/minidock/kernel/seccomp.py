"""Seccomp: which system calls the container may make, and the filter that enforces it.

A profile becomes a filter in three steps, of which only the last touches the kernel:

    Docker's form    default_seccomp.json, --security-opt seccomp=FILE: rules with conditions on
                     architecture, capabilities and kernel (archMap, includes, excludes)
      resolve_profile
    OCI's form       config.json's linux.seccomp: the rules that apply to this container
      compile        by seccomp_filter.py; cached by the profile's hash
    a BPF program    for seccomp(2), once, just before the command
      load

libseccomp is not used; tests compare our filters with those that runc installs. Refused:
SCMP_ACT_NOTIFY (it needs an agent outside the container), and every unknown name of an action,
system call, architecture or comparison.

Sources: seccomp(2); OCI runtime-spec config-linux.md "Seccomp"; Docker's docs "Seccomp security
profiles for Docker" and its default profile, whose rules are in oci/default_seccomp.json.
"""

from __future__ import annotations

import ctypes
import os
from _blake2 import blake2b
from _struct import pack, unpack_from

from minidock import jsontext
from minidock.errors import StoreError, UsageError
from minidock.kernel.libc import MACHINE, syscall
from minidock.kernel.op import op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import (
        DockerSeccomp,
        DockerSyscallRule,
        RuleCondition,
        Seccomp,
        SyscallRule,
    )

SECCOMP_SET_MODE_FILTER = 1
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
_ASSEMBLER_VERSION = 2  # increase it whenever seccomp_filter.py changes its output
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[MACHINE]
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[MACHINE]
_DIGEST_BYTES = 32


# Docker's form to OCI's --------------------------------------------------------------------------


def default_profile(capabilities: list[str]) -> Seccomp:
    """Return Docker's default profile for a container with these capabilities, in OCI's form."""
    package = os.path.dirname(os.path.dirname(__file__))
    with open(f"{package}/oci/default_seccomp.json", encoding="utf-8") as file:
        resolved = resolve_profile(jsontext.loads(file.read()), capabilities)
    assert resolved is not None
    return resolved


def resolve_profile(profile: DockerSeccomp, capabilities: list[str]) -> Seccomp | None:
    """Resolve a profile in Docker's form for one container into OCI's linux.seccomp.

    capabilities: the container's bounding set. Returns None for an empty profile, which means no
    filter. Raises UsageError for a contradictory or incomplete profile.
    """
    if not isinstance(profile, dict):
        raise UsageError("seccomp profile: not a JSON object")
    for name in profile:
        if name not in _PROFILE_FIELDS:
            raise UsageError(f"seccomp profile: unknown field {name!r}")
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    resolved: Seccomp = {"defaultAction": profile.get("defaultAction") or ""}
    if profile.get("defaultErrnoRet") is not None:
        resolved["defaultErrnoRet"] = profile["defaultErrnoRet"]
    resolved["architectures"] = _architectures(profile)
    if profile.get("flags"):
        resolved["flags"] = profile["flags"]
    resolved["syscalls"] = [
        _plain_group(group)
        for group in profile.get("syscalls") or []
        if _holds(group, capabilities)
    ]
    check(resolved)
    return resolved


_PROFILE_FIELDS = (
    "defaultAction", "defaultErrnoRet", "architectures", "archMap", "flags", "syscalls",
)  # fmt: skip
_GROUP_FIELDS = (
    "name", "names", "action", "errnoRet", "args", "comment", "includes", "excludes",
)  # fmt: skip


def _architectures(profile: DockerSeccomp) -> list[str]:
    given, by_machine = profile.get("architectures") or [], profile.get("archMap") or []
    if given and by_machine:
        raise UsageError(
            "seccomp profile: 'architectures' and 'archMap' were specified",
            hint="use either 'architectures' or 'archMap'",
        )
    for entry in by_machine:
        if entry["architecture"] == _NATIVE:
            return [_NATIVE, *(entry.get("subArchitectures") or [])]
    return list(given)


def _plain_group(group: DockerSyscallRule) -> SyscallRule:
    """Return a group of rules without the conditions that are already resolved."""
    for name in group:
        if name not in _GROUP_FIELDS:
            raise UsageError(f"seccomp profile: unknown field {name!r} in a syscall's rule")
    if group.get("name") and group.get("names"):
        raise UsageError(
            "seccomp profile: 'name' and 'names' were specified",
            hint="use either 'name' or 'names'",
        )
    plain: SyscallRule = {
        "names": group.get("names") or [group.get("name") or ""],
        "action": group.get("action") or "",
    }
    if group.get("errnoRet") is not None:
        plain["errnoRet"] = group["errnoRet"]
    if group.get("args"):
        plain["args"] = group["args"]
    return plain


def _holds(group: DockerSyscallRule, capabilities: list[str]) -> bool:
    """Whether all of a group's "includes" match, and none of its "excludes"."""
    includes, excludes = group.get("includes") or {}, group.get("excludes") or {}
    for condition in (*includes, *excludes):
        if condition not in ("caps", "arches", "minKernel"):
            raise UsageError(f"seccomp profile: unknown condition {condition!r}")
    return not _any_matches(excludes, capabilities) and _all_match(includes, capabilities)


def _any_matches(excludes: RuleCondition, capabilities: list[str]) -> bool:
    kernel = excludes.get("minKernel")
    return (
        _GO_ARCH in (excludes.get("arches") or [])
        or any(name in capabilities for name in excludes.get("caps") or [])
        or bool(kernel and _kernel_is_at_least(kernel))
    )


def _all_match(includes: RuleCondition, capabilities: list[str]) -> bool:
    arches, kernel = includes.get("arches"), includes.get("minKernel")
    return (
        (not arches or _GO_ARCH in arches)
        and all(name in capabilities for name in includes.get("caps") or [])
        and (not kernel or _kernel_is_at_least(kernel))
    )


def _kernel_is_at_least(wanted: str) -> bool:
    """Compare this kernel's version, such as 6.1.0-18-amd64, with "major.minor"."""
    try:
        return _version(os.uname().release) >= _version(wanted)
    except ValueError:
        raise UsageError(f"seccomp profile: minKernel {wanted!r} is not MAJOR.MINOR") from None


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    digits = minor[: len(minor) - len(minor.lstrip("0123456789"))]
    return int(major), int(digits)


# OCI's form to a program -------------------------------------------------------------------------


def check(profile: Seccomp) -> None:
    """Refuse an OCI linux.seccomp that cannot be applied, before anything is created.

    Raises UsageError, which names the field, flag, or value of a wrong type.
    """
    if profile.get("listenerPath") or profile.get("listenerMetadata"):
        raise UsageError("seccomp: listenerPath is for SCMP_ACT_NOTIFY, which is not supported")
    for flag in profile.get("flags") or []:
        if flag not in _FLAGS:
            raise UsageError(f"seccomp: unknown flag {flag!r}")
    if not profile.get("defaultAction"):
        raise UsageError("seccomp: defaultAction is missing")
    for group in profile.get("syscalls") or []:
        names = group.get("names")
        if not isinstance(names, list) or not names or not all(names):
            raise UsageError("seccomp: a syscall's rule has no names")
        if not group.get("action"):
            raise UsageError(f"seccomp: the rule for {names[0]!r} has no action")


def compile(profile: Seccomp, cache_directory: str) -> bytes:
    """Return the filter of an OCI linux.seccomp, from the cache or newly assembled.

    cache_directory: created if missing; a damaged entry is replaced.
    Returns the argument of `load`: 4 bytes of flags, then an array of struct sock_filter.
    Raises UsageError for a profile that cannot be applied, StoreError for the cache.
    """
    identity = jsontext.dumps([profile, MACHINE, _ASSEMBLER_VERSION]).encode()
    path = f"{cache_directory}/{_digest(identity).hex()}.bpf"
    kept = _kept(path)
    if kept is not None:
        return kept
    check(profile)
    from minidock.kernel import seccomp_filter

    flags = profile.get("flags")
    chosen = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"] if flags is None else flags
    program = pack("=I", sum(_FLAGS[flag] for flag in set(chosen)))
    program += seccomp_filter.assemble(profile)
    _keep(path, program)
    return program


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _kept(path: str) -> bytes | None:
    """Read a cached program; None if it is missing or the digest in front of it does not match."""
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read the seccomp filter {path}: {error.strerror}") from None
    program = content[_DIGEST_BYTES:]
    return program if _digest(program) == content[:_DIGEST_BYTES] else None


def _keep(path: str, program: bytes) -> None:
    """Cache a program: written to a temporary file and renamed, since concurrent runs read it."""
    draft = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(draft, "wb", buffering=0) as file:
            file.write(_digest(program) + program)
        os.rename(draft, path)
    except OSError as error:
        try:
            os.unlink(draft)
        except OSError:
            pass  # it was never created; the first error is reported
        raise StoreError(f"cannot cache the seccomp filter {path}: {error.strerror}") from None


# The op ------------------------------------------------------------------------------------------


def _load_sh(program: bytes) -> str:
    return "# a seccomp filter has no shell twin"


@op("seccomp(2)", twin=_load_sh)
def load(program: bytes) -> None:
    """Filter the system calls of this process and its children; this cannot be undone.

    Without it: the container can make all of the kernel's system calls, more than 350, also rare
    ones in which many vulnerabilities were found.

    program: from `compile`. Needs CAP_SYS_ADMIN, or no_new_privs set before; so a container with
    neither gets its filter before its capabilities are dropped, and the filter must then allow the
    remaining calls (prctl, capset, setresuid, execve).
    Raises KernelError: EACCES without either, EINVAL for an invalid program.
    """
    (flags,) = unpack_from("=I", program)
    code = ctypes.create_string_buffer(program[4:], len(program) - 4)
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    header = pack("@HP", len(code) // 8, ctypes.addressof(code))
    syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, header, subject=f"{len(code) // 8} steps")
