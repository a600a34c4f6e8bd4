"""Validate config.json before anything is created.

A runtime that ignores unknown properties would create a container with less isolation than its
config asks for. So this module rejects, by name, every property that minidock does not implement.

The annotation minidock.without disables isolation that OCI cannot turn off: "mount" (the list of
namespaces may then lack a mount namespace, which is otherwise an error), or "pivot_root" (chroot(2)
changes the root). With "mount", the caller of `create` must unmount the rootfs later.

Source: OCI runtime-spec config, config-linux.
"""

from __future__ import annotations

from minidock.errors import UsageError
from minidock.kernel.mount import PROPAGATION
from minidock.kernel.namespace import KINDS
from minidock.kernel.rlimit import RLIMITS
from minidock.oci.runtime_config import disabled_isolation
from minidock.runtime import hooks
from minidock.runtime.process_config import apparmor_file
from minidock.runtime.rootfs import parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_TOP = {
    "ociVersion", "root", "process", "hostname", "domainname", "mounts", "hooks", "annotations",
    "linux",
}  # fmt: skip
_PROCESS = {
    "terminal", "consoleSize", "cwd", "env", "args", "rlimits", "capabilities", "noNewPrivileges",
    "oomScoreAdj", "user", "apparmorProfile",
}  # fmt: skip
_LINUX = {
    "namespaces", "devices", "cgroupsPath", "resources", "seccomp", "rootfsPropagation",
    "maskedPaths", "readonlyPaths", "sysctl",
}  # fmt: skip


def check_config(config: Any) -> None:
    """Raise UsageError for a config that is malformed or not supported."""
    _object(config, "config.json")
    _reject_unknown(config, _TOP, "config.json")
    if not str(config.get("ociVersion", "")).startswith("1."):
        raise UsageError(f"config.json: ociVersion {config.get('ociVersion')!r} is not 1.x")
    root = _object(config.get("root"), "root")
    if not isinstance(root.get("path"), str) or not root["path"]:
        raise UsageError("config.json: root.path must name a directory")
    check_process(_object(config.get("process"), "process"))
    _check_mounts(config.get("mounts") or [])
    _check_hooks(_object(config.get("hooks") or {}, "hooks"))
    _object(config.get("annotations") or {}, "annotations")
    _check_linux(
        _object(config.get("linux"), "linux"),
        needs_mounts="mount" not in disabled_isolation(config),
    )
    if config["process"].get("terminal"):
        destinations = [entry["destination"] for entry in config.get("mounts") or []]
        if "/dev/pts" not in destinations:
            raise UsageError("config.json: process.terminal needs devpts mounted at /dev/pts")


def check_process(process: Mapping[str, Any]) -> None:
    """Raise UsageError for a process object that is malformed or not supported."""
    _reject_unknown(process, _PROCESS, "process")
    if not _is_command(process.get("args")):
        raise UsageError("config.json: process.args must be a list of words, the command first")
    cwd = process.get("cwd")
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise UsageError("config.json: process.cwd must be an absolute path")
    if process.get("apparmorProfile") and not apparmor_file():
        raise UsageError("config.json: process.apparmorProfile: AppArmor is not enabled here")
    for entry in process.get("env") or []:
        if not isinstance(entry, str) or "\0" in entry:
            raise UsageError(f"config.json: process.env: {entry!r} is not NAME=value")
    for limit in process.get("rlimits") or []:
        if _object(limit, "process.rlimits").get("type") not in RLIMITS:
            raise UsageError(f"config.json: process.rlimits: {limit.get('type')!r} is unknown")


def _is_command(args: object) -> bool:
    """Whether it is a list of words with at least one, the program."""
    return isinstance(args, list) and bool(args) and all(isinstance(word, str) for word in args)


def _check_hooks(entries: dict[str, Any]) -> None:
    _reject_unknown(entries, set(hooks.KINDS), "hooks")
    for kind, each in entries.items():
        for hook in each or []:
            path = _object(hook, f"hooks.{kind}").get("path")
            if not isinstance(path, str) or not path.startswith("/"):
                raise UsageError(f"config.json: hooks.{kind}: path {path!r} is not absolute")


def _check_mounts(mounts: list[object]) -> None:
    for entry in mounts:
        mount = _object(entry, "mounts")
        target = mount.get("destination")
        if not isinstance(target, str) or not target.startswith("/"):
            raise UsageError(f"config.json: mounts: destination {target!r} is not absolute")
        if mount.get("uidMappings") or mount.get("gidMappings"):
            raise UsageError(f"config.json: mounts: {target}: mapped ids are not supported")
        options = parse_options(mount.get("options") or [], subject=target)
        if options.copy_up and mount.get("type") != "tmpfs":
            raise UsageError(f"mount option 'tmpcopyup' of {target} is for a tmpfs")


def _check_linux(linux: dict[str, Any], *, needs_mounts: bool) -> None:
    _reject_unknown(linux, _LINUX, "linux")
    kinds = []
    for entry in linux.get("namespaces") or []:
        kind = _object(entry, "linux.namespaces").get("type")
        if kind not in KINDS or kind == "user":
            raise UsageError(f"config.json: linux.namespaces: {kind!r} is not supported")
        if kind == "mount" and entry.get("path"):
            raise UsageError("config.json: joining a mount namespace by path is not supported")
        if kind in kinds:
            raise UsageError(f"config.json: linux.namespaces: {kind!r} is listed twice")
        kinds.append(kind)
    if "mount" not in kinds and needs_mounts:
        raise UsageError("config.json: linux.namespaces needs a mount namespace of its own")
    propagation = linux.get("rootfsPropagation")
    if propagation and propagation not in PROPAGATION:
        raise UsageError(f"rootfsPropagation={propagation} is not supported")
    for name in linux.get("sysctl") or {}:
        _check_sysctl(name, kinds)


def _check_sysctl(name: str, kinds: list[str]) -> None:
    """Accept only sysctls of the container's own namespaces: all others would change the host."""
    needs = ""
    if name.startswith("net."):
        needs = "network"
    elif name.startswith(("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")):
        needs = "ipc"
    elif name in ("kernel.hostname", "kernel.domainname"):
        needs = "uts"
    if not needs or "/" in name or ".." in name:
        raise UsageError(f"sysctl {name!r} is not namespaced: it would change the host")
    if needs not in kinds:
        raise UsageError(f"sysctl {name!r} needs a {needs} namespace of the container's own")


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"config.json: {name} must be an object")
    return value


def _reject_unknown(value: Mapping[str, Any], names: set[str], where: str) -> None:
    for name, content in value.items():
        if name not in names and content not in (None, "", [], {}, False):
            raise UsageError(f"config.json: {where}.{name} is not supported")
