"""The set-up that is broken and repaired: a small shop in four containers.

    a browser on this machine ──8081──┐
                                      ▼
    lab-shop (network)   lab-web   a web server          lab-client   connects to lab-web by name
                         lab-worker  takes orders: --init, limits, a layer of 8 MB, and mounts:
                                     volume lab-orders at /orders, a disk of this machine at /disk
    lab-town (network)   lab-bank   a web server, published as 8082: the outside of the shop

minidock's own commands create it (setup_commands.py); a student may read and repeat them. `Shop.sh`
runs scripts about it (a fault, a fix) with the names of its parts in variables, so that they read
like typed commands:

    ip link set dev $BRIDGE down
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import list_containers
from minidock.engine.image.images import ImageStore
from minidock.engine.network import firewall, ipam
from minidock.engine.network import network_json as network_file
from minidock.engine.store.container_json import list_documents
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import Conflict, MinidockError, NotFound
from minidock.kernel import iptables
from minidock.kernel.cgroup import is_v2
from minidock.paths import Store
from minidock.teach.lab.fault.setup_commands import (
    COMMANDS,
    FILES,
    IMAGES,
    LABEL,
    NAMES,
    NETWORKS,
    USER,
    VOLUMES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerDocument

# Scripts call this minidock, and an iptables that waits for its lock.
_FUNCTIONS = """
minidock() { "$PYTHON" -P -m minidock "$@"; }
iptables() { command iptables --wait 10 "$@"; }
"""


class ScriptFailed(MinidockError):
    """A script about the set-up exited with a code other than 0."""


class Shop:
    """The set-up in one store, whether it exists or not.

    saved_names: variables for scripts that `variables` does not find. prefer_saved_names: use them
    instead of what it finds.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.saved_names: dict[str, str] = {}
        self.prefer_saved_names = False
        self.image, self.disk = f"{store.lab}/image", f"{store.lab}/disk"

    def make(self) -> None:
        """Create it, by its commands. If one of them fails, `end` removes the parts."""
        for layer, files in FILES.items():
            for path, (mode, text) in files.items():
                where = f"{self.image}/{layer}/{path}"
                _make_directory(os.path.dirname(where))
                with open(where, "w", encoding="ascii") as file:
                    file.write(text)
                os.chmod(where, mode)
        _make_directory(f"{self.image}/shop/orders")
        os.chown(f"{self.image}/shop/orders", USER, USER)  # so will be the volume
        os.makedirs(self.disk, exist_ok=True)
        for command in COMMANDS:
            self.sh(command)

    def list_parts(self) -> dict[str, list[str]]:
        """Its existing parts, by kind. Before `make`: objects of others with these names."""
        networks = network_file.list_names(self.store)
        return {
            "container": list(self.containers()),
            "volume": [name for name in VOLUMES if os.path.isdir(self.store.volume(name))],
            "network": [name for name in NETWORKS if name in networks],
            "image": [name for name in IMAGES if self._image_id(name)],
        }

    def check_unused(self) -> None:
        """Raise Conflict if another container uses a part of it."""
        ours = {container.id for container in self.containers().values()}
        image = self._image_id()
        for document in list_documents(self.store, strictly=True):
            if document["Id"] in ours or not (what := self._part_in(document, image)):
                continue
            name = document["Name"].removeprefix("/")
            raise Conflict(
                f"container {name} uses {what}, which is the set-up's; nothing was taken away",
                hint=f"remove it, then try again: minidock rm -f {name}",
            )

    def _part_in(self, document: ContainerDocument, image: str) -> str:
        """The part of the set-up that a container uses, or ""."""
        for name in document["NetworkSettings"]["Networks"]:
            if name in NETWORKS:
                return f"network {name}"
        for point in document["Mounts"]:
            if point["Type"] == "volume" and point.get("Name") in VOLUMES:
                return f"volume {point['Name']}"
            for directory in (self.image, self.disk):
                if f"{point.get('Source', '')}/".startswith(f"{directory}/"):
                    return directory
        return "image lab-shop" if image and document["Image"] == image else ""

    def end(self) -> None:
        """Remove it, in any state. Idempotent."""
        with self._lock(fcntl.LOCK_EX):
            pass  # no command is still creating parts
        for container in self.containers().values():
            if os.path.isdir(container.paths.work):  # the fault work-of-stone sets chattr +i
                self.run_script(f"chattr -f -i {container.paths.work}")
        found = self.list_parts()
        self._remove("rm -f", found["container"])
        self._remove("volume rm", found["volume"])
        self._remove("network rm", found["network"])
        unnamed = f"minidock images -q --no-trunc --filter label={LABEL} --filter dangling=true"
        self._remove("rmi -f", [*found["image"], *self.sh(unnamed).split()])
        while os.path.ismount(self.disk):
            self.sh("umount -l $DISK")
        for directory in (self.image, self.disk):
            remove_tree(self.store, directory)

    def _remove(self, command: str, names: list[str]) -> None:
        if names:
            self.sh(f"minidock {command} {' '.join(names)}")

    def _image_id(self, name: str = IMAGES[0]) -> str:
        """The id of an image, or ""."""
        try:
            return ImageStore(self.store).resolve(name).id
        except NotFound:
            return ""

    # Scripts.

    def sh(self, script: str) -> str:
        """Run a script; returns its output. Raises ScriptFailed if one of its commands fails."""
        done = self.run_script(script)
        if done.returncode:
            said = done.stderr.strip() or f"it ended with {done.returncode}"
            raise ScriptFailed(f"the set-up: {said}", hint=f"in: {script.strip()}")
        return done.stdout

    def run_script(
        self, script: str, *, seconds: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script until its first command that fails.

        seconds: timeout; then raises subprocess.TimeoutExpired.
        """
        with self._lock(fcntl.LOCK_SH) as lock:
            return subprocess.run(
                ["sh", "-euc", f"{_FUNCTIONS}\n{script}"],
                env={**os.environ, "MINIDOCK_ROOT": self.store.root, **self.names()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
                pass_fds=[lock],
            )

    @contextmanager
    def _lock(self, how: int) -> Iterator[int]:
        """Lock the store's directory.

        Scripts and their commands hold a shared lock. The commands go on if we are killed; an
        exclusive lock waits for them.
        """
        fd = os.open(self.store.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, how)
            yield fd
        finally:
            os.close(fd)

    def names(self) -> dict[str, str]:
        """The variables for a script."""
        found = self.variables()
        return (
            {**found, **self.saved_names}
            if self.prefer_saved_names
            else {**self.saved_names, **found}
        )

    def containers(self) -> dict[str, Container]:
        """The set-up's containers by name, including those that a student recreated."""
        names = (*NAMES, "lab-image")
        return {each.name: each for each in list_containers(self.store) if each.name in names}

    def variables(self) -> dict[str, str]:
        """The names of its existing parts, for scripts.

        WEB_PID, WEB_STATE, WEB_ADDRESS, WEB_VETH, WEB_HOME, and so for each container; BRIDGE,
        CHAIN, SUBNET, GATEWAY and UNUSED (a free address) of network lab-shop, TOWN_CHAIN
        and TOWN_GATEWAY of lab-town.
        """
        found = {
            "PYTHON": sys.executable,
            "IMAGE": self.image,
            "DISK": self.disk,
            "ORDERS": f"{self.store.volume('lab-orders')}/_data",
        }
        shop = network_file.read(self.store, "lab-shop")
        leases = shop["Leases"] if shop is not None else {}
        for name, container in self.containers().items():
            word = name.removeprefix("lab-").upper()
            lease = leases.get(container.id, {})
            found[f"{word}_PID"] = str(container.state["Pid"])
            found[f"{word}_STATE"] = _state(container)
            found[f"{word}_HOME"] = container.paths.home
            found[f"{word}_ADDRESS"] = lease.get("Address", "")
            found[f"{word}_VETH"] = lease.get("Cable", "")
            found.update(_cgroup_files(self.store, container, word))
        for prefix, state in (("", shop), ("TOWN_", network_file.read(self.store, "lab-town"))):
            if state and "Subnet" in state:
                found[f"{prefix}BRIDGE"] = state["Device"]
                found[f"{prefix}CHAIN"] = firewall.chain_of(state["Device"])
                found[f"{prefix}SUBNET"] = state["Subnet"]
                found[f"{prefix}GATEWAY"] = state["Gateway"]
                found[f"{prefix}UNUSED"] = _last_address(state["Subnet"])
        return found

    def save_names(self) -> dict[str, str]:
        """Save the current names, for a script that runs when they have changed.

        Also FORWARD_POLICY, the firewall's policy, which a fault may change.
        """
        policy = firewall.forward_policy(iptables.Listing().text())
        self.saved_names = {**self.variables(), "FORWARD_POLICY": policy}
        return self.saved_names


def _make_directory(path: str) -> None:
    """Create a directory of the image, readable for all whatever our umask is."""
    if not os.path.isdir(path):
        _make_directory(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)


def _state(container: Container) -> str:
    state = container.state
    ended = f", exit code {state['ExitCode']}" if state["Status"] == "exited" else ""
    return f"it is {state['Status']}{ended}"


def _cgroup_files(store: Store, container: Container, word: str) -> dict[str, str]:
    """The limit files of a container's cgroup, in either version, and values for them."""
    paths = cgroup_of(store, container.id).paths()
    if is_v2():
        files = {
            "MEMORY": ("", "memory.max"),
            "PIDS": ("", "pids.max"),
            "CPU": ("", "cpu.max"),
            "FREEZER": ("", "cgroup.freeze"),
        }
        words = {"CGROUP": "2", "FROZEN": "1", "THAWED": "0"}
        words |= {"CPU_SLOW": "3000 100000", "CPU_FREE": "max 100000"}
    else:
        files = {
            "MEMORY": ("memory", "memory.limit_in_bytes"),
            "PIDS": ("pids", "pids.max"),
            "CPU": ("cpu", "cpu.cfs_quota_us"),
            "FREEZER": ("freezer", "freezer.state"),
        }
        words = {"CGROUP": "1", "FROZEN": "FROZEN", "THAWED": "THAWED"}
        words |= {"CPU_SLOW": "3000", "CPU_FREE": "-1"}
    for name, (controller, file) in files.items():
        if controller in paths:
            words[f"{word}_{name}"] = f"{paths[controller]}/{file}"
    return words


def _last_address(subnet: str) -> str:
    """An address of a subnet that no container has: they get the lowest ones."""
    return ipam.address_text(ipam.parse_subnet(subnet).last - 1)
