"""All paths of the store are built here.

A name from outside (of a volume, network or container, or a digest) becomes part of a path in
`_component` only, which raises BadName for names that could escape: "..", a slash, an empty one.

    /var/lib/minidock/                       MINIDOCK_ROOT moves it, and with it all that follows
        version  lock
        blobs/sha256/<hex>                   configs and manifests of images, as they came
        layers/<chainID>/{diff,layer.json}
        images.json                          references -> image ids
        events.jsonl  events.jsonl.1         what has happened (engine/store/event_log.py)
        containers/<id>/                     container.json, bundle/config.json, upper, work,
                                             merged, log.json, journal.jsonl, exec.jsonl,
                                             health.jsonl, cp.jsonl, hosts, hostname,
                                             resolv.conf, lock, monitor.lock, manually-stopped,
                                             temporary (it goes with its end),
                                             made-volumes (until it is created), mounts/<n>,
                                             step.sock (during run --step),
                                             disk and space (--storage-opt size=)
        names/<name> -> <id>
        volumes/<name>/{_data,volume.json}
        networks/<name>.json  networks/<name>.jsonl
        seccomp/<hash>.bpf
        build/{lock,journal.jsonl,steps/<key>,mounts/<id>/,downloads/}
        lab/{fault.json,image/,disk/}        a set-up with a fault, for as long as there is one
    /run/minidock/                           gone at a reboot
        sealed/                              the read-only interpreter
        <id>/{state.json,start.fifo,monitor.sock}

Each MINIDOCK_ROOT has its own /run directory, bridge, cgroup parent and iptables chains, so that
stores on one machine are independent. MINIDOCK_BRIDGE and MINIDOCK_SUBNET override the bridge and
subnet of the default network.
"""

from __future__ import annotations

import os

from minidock.errors import BadName

STORE_VERSION = 1
DEFAULT_ROOT = "/var/lib/minidock"
_LONGEST_NAME = 255  # NAME_MAX
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_OTHERS = _FIRST | frozenset("_.-")
_HEX = frozenset("0123456789abcdef")
_SHA256_DIGITS = 64


class Store:
    """Paths of one store.

    root: absolute path of the store.
    """

    def __init__(self, root: str | None = None) -> None:
        chosen = root or os.environ.get("MINIDOCK_ROOT") or DEFAULT_ROOT
        self.root = os.path.abspath(chosen)
        self.is_default = self.root == DEFAULT_ROOT
        tag = "" if self.is_default else "-" + _fingerprint(self.root)
        self.run = "/run/minidock" + tag
        self.cgroup_parent = "minidock" + tag
        self.derived_bridge = "minidock0" if self.is_default else "md" + _fingerprint(self.root)
        self.bridge = os.environ.get("MINIDOCK_BRIDGE") or self.derived_bridge
        self.subnet = os.environ.get("MINIDOCK_SUBNET") or ""  # "": chosen against the routes

        self.version = f"{self.root}/version"
        self.lock = f"{self.root}/lock"
        self.blobs = f"{self.root}/blobs/sha256"
        self.layers = f"{self.root}/layers"
        self.images = f"{self.root}/images.json"
        self.events = f"{self.root}/events.jsonl"
        self.containers = f"{self.root}/containers"
        self.names = f"{self.root}/names"
        self.volumes = f"{self.root}/volumes"
        self.networks = f"{self.root}/networks"
        self.seccomp = f"{self.root}/seccomp"
        self.staging = f"{self.root}/staging"
        self.build = f"{self.root}/build"
        self.build_journal = f"{self.build}/journal.jsonl"
        self.build_lock = f"{self.build}/lock"
        self.build_steps = f"{self.build}/steps"
        self.build_downloads = f"{self.build}/downloads"
        self.build_mounts = f"{self.build}/mounts"
        self.lab = f"{self.root}/lab"
        self.lab_note = f"{self.lab}/fault.json"
        self.sealed = f"{self.run}/sealed"

    @property
    def own_directories(self) -> tuple[str, ...]:
        """The directories below which minidock may remove files; never themselves."""
        return (
            self.staging, self.run, self.containers, self.volumes, self.layers, self.blobs,
            self.names, self.networks, self.seccomp, self.build_steps, self.build_mounts,
            self.build_downloads, self.lab,
        )  # fmt: skip

    def blob(self, digest: str) -> str:
        """Path of a blob by its digest ("sha256:<hex>" or bare hex)."""
        return f"{self.blobs}/{_digest('a blob', digest)}"

    def layer(self, chain_id: str) -> str:
        """Directory of an unpacked layer by its chainID ("sha256:<hex>" or bare hex)."""
        return f"{self.layers}/{_digest('a layer', chain_id)}"

    def build_step(self, key: str) -> str:
        """Record of a step in the build cache by its key ("sha256:<hex>" or bare hex)."""
        return f"{self.build_steps}/{_digest('a build step', key)}"

    def container(self, container_id: str) -> ContainerPaths:
        """Paths of one container by its full id."""
        return ContainerPaths(self, _component("a container id", container_id))

    def name(self, name: str) -> str:
        """The link from a container's name to its id."""
        return f"{self.names}/{_component('a container name', name)}"

    def volume(self, name: str) -> str:
        """Directory of a named volume; its files are in `_data` below it."""
        return f"{self.volumes}/{_component('a volume name', name)}"

    def volume_users(self, name: str) -> str:
        """Directory in /run that lists the users of a volume that is a mount of its own."""
        return f"{self.run}/volumes/{_component('a volume name', name)}"

    def network(self, name: str) -> str:
        """State file of a network: its subnet and the addresses given out."""
        return f"{self.networks}/{_component('a network name', name)}.json"

    def network_journal(self, name: str) -> str:
        """Journal of a network: its creation, and containers that connected and disconnected."""
        return f"{self.networks}/{_component('a network name', name)}.jsonl"


def is_component(name: str) -> bool:
    """Whether a name from outside may become part of a path: Docker's alphabet for names."""
    return 0 < len(name) <= _LONGEST_NAME and name[0] in _FIRST and _OTHERS.issuperset(name)


def is_sha256(name: str) -> bool:
    """Whether a name is 64 hex digits, as for containers, layers and blobs.

    Files with other names in their directories are foreign: they are neither listed nor removed.
    """
    return len(name) == _SHA256_DIGITS and _HEX.issuperset(name)


def _component(what: str, name: str) -> str:
    if not is_component(name):
        raise BadName(
            f"{name!r} is not {what}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, "
            f"at most {_LONGEST_NAME} of them"
        )
    return name


def _digest(what: str, digest: str) -> str:
    digits = digest.removeprefix("sha256:")
    if not is_sha256(digits):
        raise BadName(
            f"{digest!r} is not the digest of {what}: sha256: and {_SHA256_DIGITS} digits"
        )
    return digits


class ContainerPaths:
    """Paths of one container, in the store and in /run."""

    def __init__(self, store: Store, container_id: str) -> None:
        self.home = f"{store.containers}/{container_id}"
        self.document = f"{self.home}/container.json"
        self.bundle = f"{self.home}/bundle"
        self.config = f"{self.bundle}/config.json"
        self.upper = f"{self.home}/upper"
        self.work = f"{self.home}/work"
        self.merged = f"{self.home}/merged"
        self.shm = f"{self.home}/shm"
        self.disk = f"{self.home}/disk"
        self.space = f"{self.home}/space"
        self.mounts = f"{self.home}/mounts"
        self.log = f"{self.home}/log.json"
        self.journal = f"{self.home}/journal.jsonl"
        self.exec_journal = f"{self.home}/exec.jsonl"
        self.health_journal = f"{self.home}/health.jsonl"
        self.copy_journal = f"{self.home}/cp.jsonl"
        self.hosts = f"{self.home}/hosts"
        self.hostname = f"{self.home}/hostname"
        self.resolv_conf = f"{self.home}/resolv.conf"
        self.made_volumes = f"{self.home}/made-volumes"
        self.lock = f"{self.home}/lock"
        self.monitor_lock = f"{self.home}/monitor.lock"
        self.temporary = f"{self.home}/temporary"
        self.manually_stopped = f"{self.home}/manually-stopped"
        self.step_socket = f"{self.home}/step.sock"

        self.run = f"{store.run}/{container_id}"
        self.state = f"{self.run}/state.json"
        self.start_fifo = f"{self.run}/start.fifo"
        self.monitor_socket = f"{self.run}/monitor.sock"


def _fingerprint(text: str) -> str:
    """Hash a store's root to eight hex digits (FNV-1a, 32 bits)."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value:08x}"
