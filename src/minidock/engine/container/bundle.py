"""The bundle: translates the container's document to an OCI runtime config.

Docker's terms (HostConfig, SecurityOpt, --device) become those of the specification, together with
data from the mounted rootfs: the ids and the home directory of "-u www-data".
"""

from __future__ import annotations

import os
import stat

from minidock import document as documents
from minidock import jsontext
from minidock.engine.container.cgroups import block_io, new_cgroup_path
from minidock.engine.container.containers import Container, restarting_error
from minidock.engine.container.lookup import find
from minidock.engine.container.mounts import runtime_mounts
from minidock.engine.container.propagation import rootfs_propagation
from minidock.engine.container.user import resolve_user
from minidock.errors import Conflict, DeviceNotFound, UsageError
from minidock.kernel import capability, cgroup, seccomp
from minidock.numerals import is_decimal
from minidock.oci.runtime_config import (
    DEFAULT_PATH,
    DEFAULT_SHM_BYTES,
    WITHOUT_ANNOTATION,
    default_devices,
    default_mounts,
    process_config,
    runtime_config,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerDocument
    from minidock.document_types.host_config import HostConfig, SecurityOptions
    from minidock.document_types.runtime_spec import (
        Device,
        DeviceRule,
        Mount,
        Namespace,
        RuntimeConfig,
        Seccomp,
        User,
    )

_INITS = (
    "/usr/bin/tini-static", "/usr/libexec/docker/docker-init", "/usr/bin/docker-init",
    "/usr/sbin/docker-init", "/usr/bin/tini",
)  # fmt: skip
_INIT_PATH = "/sbin/docker-init"


def write_bundle(container: Container) -> None:
    """Write bundle/config.json for this start. The rootfs must be mounted.

    Raises UsageError, Conflict and DeviceNotFound for what the image or the machine lacks.
    """
    groups = container.host_config.get("GroupAdd") or []
    user, home = resolve_user(container.paths.merged, container.config["User"], groups)
    config = config_of(container, user, home)
    documents.write(container.paths.config, jsontext.dumps(config), durable=False)


def bundle_config(container: Container) -> RuntimeConfig:
    """The config.json of the container's last start."""
    with open(container.paths.config, encoding="utf-8") as file:
        config: RuntimeConfig = jsontext.loads(file.read())
    return config


def config_of(container: Container, user: User, home: str) -> RuntimeConfig:
    """Return config.json for this start; nothing of it has to exist yet.

    user, home: from `resolve_user`.
    """
    document, host = container.document, container.host_config
    privileged = bool(host.get("Privileged"))
    rootfs = container.paths.merged
    capabilities = capability.resolve(
        host.get("CapAdd") or [], host.get("CapDrop") or [], privileged=privileged
    )
    options = security_options(host)
    command = [document["Path"], *document["Args"]]
    mounts = mounts_of(container)
    if host.get("Init"):
        command = [_INIT_PATH, "--", *command]
    config = runtime_config(
        document,
        rootfs=rootfs,
        process=process_config(
            terminal=bool(container.config.get("Tty")),
            user=user,
            args=command,
            environment=environment(document, home),
            cwd=container.config["WorkingDir"] or "/",
            capabilities=capabilities,
            no_new_privileges=options["no_new_privileges"],
        ),
        seccomp=seccomp_profile(options, capabilities, privileged=privileged),
        mounts=mounts,
        namespaces=_namespaces(container),
        devices=_devices(host),
        limits_swap=cgroup.supports_swap_limit(),
        cgroup_path=new_cgroup_path(container),
    )
    if annotations := host.get("Annotations"):
        config["annotations"] = annotations
    if limits := block_io(host):
        config["linux"]["resources"]["blockIO"] = limits
    if propagation := rootfs_propagation(mounts):
        config["linux"]["rootfsPropagation"] = propagation
    return config


def mounts_of(container: Container) -> list[Mount]:
    """Return all mounts of a start, in order."""
    host = container.host_config
    mounts = default_mounts(
        shm_bytes=host.get("ShmSize") or DEFAULT_SHM_BYTES,
        writable_sys=bool(host.get("Privileged")),
    )
    mounts = _with_shared_memory(mounts, container)
    if host.get("Init"):
        mounts.append(_read_only_bind(_init_program(), _INIT_PATH))
    return _override(mounts, _asked_mounts(container))


def _asked_mounts(container: Container) -> list[Mount]:
    """Return the requested mounts and those of the identity files, outer mount points first.

    So a volume on /etc is mounted before /etc/hosts, and does not hide it.
    """
    asked = runtime_mounts(container.document)
    both = _override(_identity_files(container), asked)
    return sorted(both, key=lambda entry: entry["destination"].count("/"))


def environment(document: ContainerDocument, home: str) -> list[str]:
    """Return the command's environment: Docker's own variables first, then the requested ones.

    Of two entries with one name the last one counts, at the place of the first; NAME alone unsets
    it.
    """
    config = document["Config"]
    base = [DEFAULT_PATH, f"HOSTNAME={config['Hostname']}"]
    if config.get("Tty"):
        base.append("TERM=xterm")
    wanted = {entry.partition("=")[0]: entry for entry in [*base, *(config.get("Env") or [])]}
    wanted.setdefault("HOME", f"HOME={home}")
    return [entry for entry in wanted.values() if "=" in entry]


def security_options(host: HostConfig) -> SecurityOptions:
    """Parse SecurityOpt: {"no_new_privileges": bool, "seccomp": None, "unconfined" or JSON}.

    Raises UsageError for an unsupported option.
    """
    found: SecurityOptions = {"no_new_privileges": False, "seccomp": None}
    for option in host.get("SecurityOpt") or []:
        name, _, value = (
            option.replace(":", "=", 1).partition("=")
            if "=" not in option
            else (option.partition("="))
        )
        if name == "no-new-privileges" and value in ("", "true", "false"):
            found["no_new_privileges"] = value != "false"
        elif name == "seccomp" and value:
            found["seccomp"] = value
        elif (name, value) in (("apparmor", "unconfined"), ("label", "disable")):
            continue  # neither is ever applied
        else:
            raise UsageError(f"security option {option!r} is not supported")
    return found


def seccomp_profile(
    options: SecurityOptions, capabilities: list[str], *, privileged: bool
) -> Seccomp | None:
    """Return OCI's linux.seccomp: the default profile, the user's own, or None."""
    wanted = options["seccomp"]
    if wanted == "unconfined" or (wanted is None and privileged):
        return None
    if wanted is None:
        return seccomp.default_profile(capabilities)
    try:
        profile = jsontext.loads(wanted)
    except ValueError as error:
        raise UsageError(f"seccomp profile: {error}") from None
    return seccomp.resolve_profile(profile, capabilities)


def _namespaces(container: Container) -> list[Namespace]:
    """Return new ones, except the host's (left out) and those of other containers (by path)."""
    host = container.host_config
    modes = {
        "pid": host.get("PidMode") or "",
        "ipc": host.get("IpcMode") or "",
        "uts": host.get("UTSMode") or "",
        "network": host.get("NetworkMode") or "",
        "cgroup": host.get("CgroupnsMode") or "",
    }
    without = (host.get("Annotations") or {}).get(WITHOUT_ANNOTATION, "")
    namespaces: list[Namespace] = []
    if "mount" not in without.split(","):
        namespaces.append({"type": "mount"})
    for kind, mode in modes.items():
        if mode == "host":
            continue
        entry: Namespace = {"type": kind}
        if mode.startswith("container:"):
            name = {"network": "net"}.get(kind, kind)
            entry["path"] = f"/proc/{_running_pid(container, mode[10:])}/ns/{name}"
        namespaces.append(entry)
    return namespaces


def _with_shared_memory(mounts: list[Mount], container: Container) -> list[Mount]:
    """Add /dev/shm by the IPC namespace: new, the host's, another container's, or none."""
    mode = container.host_config.get("IpcMode") or ""
    if mode in ("", "private"):
        return mounts
    if mode == "none":
        return [entry for entry in mounts if entry["destination"] != "/dev/shm"]
    source = container.paths.shm
    if mode == "host":
        source = "/dev/shm"
    elif mode.startswith("container:"):
        donor = find(container.store, mode[10:])
        if donor.host_config.get("IpcMode") != "shareable":
            raise Conflict(
                f"cannot join the IPC namespace of {donor.name}: it is private",
                hint=f"run {donor.name} with --ipc shareable",
            )
        source = donor.paths.shm
    return _override(mounts, [_bind(source, "/dev/shm", "rw")])


def _running_pid(container: Container, reference: str) -> int:
    other = find(container.store, reference)
    if not other.running:
        raise Conflict(
            f"cannot join the namespaces of {other.name}: it is not running",
            hint=f"start it first: minidock start {other.name}",
        )
    if other.restarting:
        raise restarting_error(other)
    return int(other.state["Pid"])


def _identity_files(container: Container) -> list[Mount]:
    """Return /etc/hosts, hostname and resolv.conf: its own, or those of the network it joins."""
    document = container.document
    mode = container.host_config.get("NetworkMode") or ""
    if mode.startswith("container:"):
        document = find(container.store, mode[10:]).document
    access = "ro" if container.host_config.get("ReadonlyRootfs") else "rw"
    return [
        _bind(document["ResolvConfPath"], "/etc/resolv.conf", access),
        _bind(document["HostnamePath"], "/etc/hostname", access),
        _bind(document["HostsPath"], "/etc/hosts", access),
    ]


def _bind(source: str, target: str, access: str) -> Mount:
    options = ["rbind", "rprivate", access]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def _read_only_bind(source: str, target: str) -> Mount:
    return {**_bind(source, target, "ro"), "options": ["bind", "ro"]}


def _override(defaults: list[Mount], asked: list[Mount]) -> list[Mount]:
    """Replace default mounts by requested ones with the same target."""
    places = {entry["destination"] for entry in asked}
    return [entry for entry in defaults if entry["destination"] not in places] + asked


def _init_program() -> str:
    for path in _INITS:
        if os.access(path, os.X_OK):
            return path
    raise UsageError("--init: no tini on this machine", hint="apt-get install tini")


def _devices(host: HostConfig) -> tuple[list[Device], list[DeviceRule]]:
    """Return the nodes to create in addition to the default ones, and the device rules."""
    if host.get("Privileged"):
        return _nodes_below("/dev", "/dev"), [{"allow": True, "access": "rwm"}]
    nodes: list[Device] = []
    rules = [*default_devices(), *map(device_rule, host.get("DeviceCgroupRules") or [])]
    for device in host.get("Devices") or []:
        source = device["PathOnHost"]
        target = device.get("PathInContainer") or source
        found = _nodes_below(source, target) if os.path.isdir(source) else [_node(source, target)]
        nodes += found
        access = device.get("CgroupPermissions") or "rwm"
        rules += [
            {"allow": True, "type": n["type"], "major": n["major"], "minor": n["minor"],
             "access": access}
            for n in found
        ]  # fmt: skip
    return nodes, rules


def device_rule(text: str) -> DeviceRule:
    """Convert a rule such as "c 1:3 mr", "b 8:* rwm" or "a *:* rwm" to OCI's form.

    Raises UsageError with dockerd's message.
    """
    kind, numbers, access = (text.split(" ") + ["", ""])[:3]
    major, _, minor = numbers.partition(":")
    known = all(word == "*" or is_decimal(word) for word in (major, minor))
    known = known and kind in ("a", "b", "c") and bool(access) and set(access) <= set("rwm")
    if not known or text != f"{kind} {numbers} {access}":
        raise UsageError(
            f"invalid device cgroup rule format: '{text}'", hint='such as "c 1:3 mr" or "b 8:* rwm"'
        )
    rule: DeviceRule = {"allow": True, "access": access}
    if kind != "a":
        rule["type"] = kind
    if major != "*":
        rule["major"] = int(major)
    if minor != "*":
        rule["minor"] = int(minor)
    return rule


def _node(source: str, target: str) -> Device:
    asked = f'error gathering device information while adding custom device "{source}"'
    try:
        status = os.stat(source)
    except OSError as error:
        words = (error.strerror or "").lower()
        raise DeviceNotFound(f"{asked}: {words}", hint="ls -l /dev lists the devices") from None
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise UsageError(f"{asked}: not a device node", hint="-v mounts files and directories")
    return {
        "path": target, "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid,
    }  # fmt: skip


def _nodes_below(source: str, target: str) -> list[Device]:
    """List the device nodes in a directory of the host, without terminals and default ones."""
    nodes = []
    for folder, names, files in os.walk(source):
        names[:] = [n for n in names if n not in ("pts", "shm", "fd", "mqueue", ".udev")]
        for name in files:
            path = os.path.join(folder, name)
            try:
                mode = os.lstat(path).st_mode
                if name not in ("console", "ptmx") and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
                    nodes.append(_node(path, target + path[len(source) :]))
            except (FileNotFoundError, DeviceNotFound):
                continue  # unplugged meanwhile
    return nodes
