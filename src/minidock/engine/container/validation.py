"""Checks of a request before anything is created.

Several values become a line of another file (/etc/hosts, resolv.conf) or a part of a path. A
newline or a slash in one would write more than one line, or to another path. They are refused here,
with the name that Docker's API gives them.

Source: Docker Engine API v1.45 ContainerCreate; hostname(7), resolv.conf(5), hosts(5).
"""

from __future__ import annotations

import os

from minidock.engine.container.cgroups import check_cgroup_parent
from minidock.engine.container.restart_policy import check_policy
from minidock.errors import NotFound, UsageError
from minidock.signals import stop_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from minidock.document_types.container import CreateBody, Healthcheck
    from minidock.document_types.host_config import HostConfig
    from minidock.paths import Store

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME_CHARACTERS = _ALNUM | frozenset("_.-")
_HOST_NAME_MAX = 64
_SHORTEST_NS = 1_000_000  # 1 ms
_MINIMUM_MEMORY_BYTES = 6 * 1024 * 1024  # Docker's: runc itself may need as much


def check_name(name: str, *, what: str = "container") -> None:
    """Raise UsageError for a name that Docker would refuse; it becomes a part of a path."""
    if len(name) < 2 or name[0] not in _ALNUM or not set(name) <= _NAME_CHARACTERS:
        raise UsageError(
            f"invalid {what} name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    if len(name) > 200:
        raise UsageError(f"invalid {what} name: {len(name)} characters, at most 200 are allowed")


def check_body(store: Store, body: CreateBody) -> None:
    """Raise UsageError for an invalid ContainerCreate body."""
    host = body.get("HostConfig") or {}
    _check_lines_of_files(body, host)
    _check_process(body)
    for target in [*(host.get("Tmpfs") or {}), *map(in_container, body.get("Volumes") or {})]:
        check_destination(target)
    if body.get("StopSignal"):
        stop_signal(body)
    check_policy(host)
    if host.get("StorageOpt"):
        from minidock.engine.container.own_layer import size_of

        size_of(host)
    _check_health(body.get("Healthcheck") or {})
    check_cgroup_parent(host.get("CgroupParent") or "")
    _check_memory(host)
    _check_cpus(host)
    _check_modes(store, host)
    if body.get("Hostname"):
        _check_hostname_is_own(host)
    _check_address(body, host)


def _check_lines_of_files(body: CreateBody, host: HostConfig) -> None:
    """Check values that become a word or a line of /etc/hostname, /etc/hosts or resolv.conf."""
    name: Literal["Hostname", "Domainname"]
    for name in ("Hostname", "Domainname"):
        value = body.get(name) or ""
        if not set(value) <= _NAME_CHARACTERS or len(value) > _HOST_NAME_MAX:
            raise UsageError(
                f"invalid {name.lower()} {value!r}: letters, digits, '.', '-' and '_', "
                f"at most {_HOST_NAME_MAX} of them"
            )
    field: Literal["ExtraHosts", "Dns", "DnsOptions", "DnsSearch"]
    for field in ("ExtraHosts", "Dns", "DnsOptions", "DnsSearch"):
        for value in host.get(field) or []:
            _one_line(value, field)


def _check_process(body: CreateBody) -> None:
    """Check the arguments of execve(2), environment and command, and the working directory."""
    for entry in body.get("Env") or []:
        if "\0" in entry or not entry or entry.startswith("="):
            raise UsageError(f"invalid environment variable: {entry!r}")
    for word in [*(body.get("Cmd") or []), *(body.get("Entrypoint") or [])]:
        if "\0" in word:
            raise UsageError(f"invalid argument {word!r}: a NUL byte would truncate it")
    directory = body.get("WorkingDir") or "/"
    if not directory.startswith("/") or "\0" in directory:
        raise UsageError(
            f"the working directory '{directory}' is invalid, it needs to be an absolute path"
        )


def _check_hostname_is_own(host: HostConfig) -> None:
    """Check that --hostname comes with a UTS namespace of the container's own."""
    if (host.get("NetworkMode") or "").startswith("container:"):
        raise UsageError(
            "conflicting options: hostname and the network mode",
            hint="a container in another container's network has the host name of that one",
        )
    if host.get("UTSMode") == "host":
        raise UsageError(
            "conflicting options: hostname and the UTS mode",
            hint="with --uts host the container has the machine's own host name",
        )


def warnings_of(body: CreateBody) -> list[str]:
    """Return Docker's warnings about options of a body that have no effect."""
    host = body.get("HostConfig") or {}
    if host.get("NetworkMode") == "host" and host.get("PortBindings"):
        return ["Published ports are discarded when using host network mode"]
    return []


def _check_address(body: CreateBody, host: HostConfig) -> None:
    """Check that --ip comes with a user-defined network."""
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    mode = host.get("NetworkMode") or "default"
    if mode not in ("default", "bridge", "host", "none"):
        return
    asked = (endpoints.get(mode) or {}).get("IPAMConfig") or {}
    if any(asked.values()):
        raise UsageError(
            f"invalid config for network {'bridge' if mode == 'default' else mode}: "
            "user specified IP address is supported on user defined networks only",
            hint="minidock network create --subnet 172.30.0.0/24 NAME   creates one",
        )


def check_destination(target: str) -> None:
    """Raise UsageError for a mount point that is not an absolute path, or is "/"."""
    if not target.startswith("/") or "\0" in target:
        raise UsageError(
            f"invalid mount path: {target!r} mount path must be absolute",
        )
    if clean(target) == "/":
        raise UsageError(f"invalid mount path: {target!r}: destination can't be '/'")


def clean(path: str) -> str:
    """Remove ".", ".." and double slashes from a path, like Go's filepath.Clean.

    os.path.normpath alone keeps two leading slashes: POSIX allows them another meaning.
    """
    return os.path.normpath(f"/{path.lstrip('/')}" if path.startswith("/") else path)


def in_container(target: str) -> str:
    """Return the mount point of an anonymous volume; a relative path starts at the root."""
    return clean(f"/{target}")


def _one_line(value: str, field: str) -> None:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise UsageError(f"{field}: {value!r} has a control character; it must fit on one line")


def _check_health(check: Healthcheck) -> None:
    field: Literal["Interval", "Timeout", "StartPeriod", "StartInterval"]
    for field in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if 0 < (check.get(field) or 0) < _SHORTEST_NS:
            raise UsageError(f"{field} in Healthcheck cannot be less than 1ms")


def _check_memory(host: HostConfig) -> None:
    limit: Literal["Memory", "MemorySwap", "MemoryReservation", "ShmSize"]
    for limit in ("Memory", "MemorySwap", "MemoryReservation", "ShmSize"):
        if (host.get(limit) or 0) >= 1 << 63:
            raise UsageError(f"{limit} is too large: {host[limit]} bytes")
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    if 0 < memory < _MINIMUM_MEMORY_BYTES:
        raise UsageError("Minimum memory limit allowed is 6MB", hint="give -m 6m or more")
    if swap > 0 and memory == 0:
        raise UsageError(
            "You should always set the Memory limit when using Memoryswap limit",
            hint="give -m as well",
        )
    if 0 < swap < memory:
        raise UsageError(
            "Minimum memoryswap limit should be larger than memory limit",
            hint="--memory-swap counts memory and swap together",
        )


def _check_cpus(host: HostConfig) -> None:
    cpus = (host.get("NanoCpus") or 0) / 1e9
    there = os.cpu_count() or 1
    if cpus < 0 or cpus > there:
        raise UsageError(
            f"Range of CPUs is from 0.01 to {there:.2f}, as there are only {there} CPUs available"
        )
    if host.get("NanoCpus") and (host.get("CpuQuota") or host.get("CpuPeriod")):
        raise UsageError("Conflicting options: Nano CPUs and CPU Period cannot both be set")


def _check_modes(store: Store, host: HostConfig) -> None:
    """Check namespaces shared with another container: it must exist, and run, at start."""
    from minidock.engine.container.lookup import find

    field: Literal["NetworkMode", "PidMode", "IpcMode", "UTSMode"]
    for field in ("NetworkMode", "PidMode", "IpcMode", "UTSMode"):
        mode = host.get(field) or ""
        if mode.startswith("container:"):
            if field == "UTSMode":
                raise UsageError(f"invalid UTS mode: {mode}")
            try:
                other = find(store, mode[10:])
            except NotFound as error:
                raise UsageError(f"{field}: {error}", hint=error.hint) from None
            host[field] = f"container:{other.id}"
    if (host.get("NetworkMode") or "").startswith("container:"):
        if host.get("PortBindings") or host.get("PublishAllPorts"):
            raise UsageError(
                "conflicting options: port publishing and the container type network mode",
                hint="publish the port on the container whose network is joined",
            )
        if host.get("ExtraHosts") or host.get("Dns"):
            raise UsageError(
                "conflicting options: --add-host or --dns and the container type network mode"
            )
