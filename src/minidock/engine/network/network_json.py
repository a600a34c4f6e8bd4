"""What is kept of a network: its subnet, its bridge, and who has which address.

    networks/bridge.json   {"Name", "Id" (64 hex digits), "Created", "Driver",
                            "Device", "Subnet", "Gateway",
                            "Leases": {container id: {"Address", "EndpointID", "MacAddress",
                                                      "Bindings": [published port, ...]}}}
    networks/<name>.json   a user's network: the same, and what was asked for: "Internal",
                           "Attachable", "Labels", "Options", and "Asked", the range of addresses
    networks/host.json, networks/none.json: without device, subnet and leases

A lease of a container that is connected also has "Cable" (the host's end), "Interface" (its own
end's name) and, on a user's network, "Names", to which the others' questions for it are answered.

All of them are read and written under one lock, that of the directory: `Locked`. A lease is written
before the kernel objects that belong to it are made, and dropped after they are gone, so that
whatever was interrupted, the file names everything that there may be.

Sources: flock(2), rename(2); Docker Engine API 1.45, NetworkInspect.
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.document import Each
from minidock.engine.store.timestamps import timestamp
from minidock.errors import DamagedFile, NotFound, StoreError
from minidock.kernel.flock import lock_or_close
from minidock.paths import is_component

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.paths import Store

_BINDING = {"HostIp": str, "HostPort": (int, str), "Proto": str, "ContainerPort": (int, str)}
_LEASE = {
    "Address": str, "EndpointID?": str, "MacAddress?": str, "Bindings?": [_BINDING],
    "Cable?": str, "Interface?": str, "Names?": ([str], None),
}  # fmt: skip
_SHAPE = {
    "Name": str, "Id": str, "Created": str, "Driver": str, "Leases": Each(_LEASE), "Device?": str,
    "Subnet?": str, "Gateway?": str, "Internal?": bool, "Attachable?": bool,
    "Labels?": (Each(str), None), "Options?": (Each(str), None), "Asked?": (dict, None),
}  # fmt: skip
DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}


class LockedNetworks:
    """A block in which no other process reads or writes the networks of this store.

    Raises LockTimeout.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._directory = -1

    def __enter__(self) -> LockedNetworks:
        os.makedirs(self._store.networks, mode=0o700, exist_ok=True)
        self._directory = os.open(self._store.networks, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        lock_or_close(self._directory, self._store.networks)
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._directory)

    def load(self, name: str) -> dict[str, Any] | None:
        """A network's file, or None where there is none yet."""
        return read(self._store, name)

    def save(self, network: dict[str, Any]) -> None:
        """Put a network's file in the place of the old one, whole or not at all.

        What people asked for outlives a power cut. The three that are always there need not: they
        are made anew, and every `run` writes them.
        """
        path = self._store.network(network["Name"])
        text = jsontext.dumps(network) + "\n"
        try:
            document.write(
                path, text, durable="Asked" in network, beside=f"{path}.new", over_when_full=True
            )
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from None

    def load_or_make(self, name: str) -> dict[str, Any]:
        """A network's file, made with a fresh id where there is none yet."""
        network = self.load(name)
        if network is None:
            network = {
                "Name": name,
                "Id": os.urandom(32).hex(),
                "Created": timestamp(),
                "Driver": DRIVERS[name],
                "Leases": {},
            }
            self.save(network)
        return network

    def require(self, name: str) -> dict[str, Any]:
        """A network's file; one of the three that are always there is made at its first use.

        Raises NotFound.
        """
        found = self.load_or_make(name) if name in DRIVERS else self.load(name)
        if found is None:
            raise NotFound(f"network {name} not found", hint="see: minidock network ls")
        return found

    def remove(self, name: str) -> None:
        """Forget a network; what is forgotten already stays so."""
        _remove(self._store.network(name))


def read(store: Store, name: str) -> dict[str, Any] | None:
    """A network's file as it is just now, without the lock: for looking only.

    Raises DamagedFile.
    """
    if not is_component(name):
        return None
    path = store.network(name)
    try:
        network: dict[str, Any] = document.read(path, _SHAPE)
    except FileNotFoundError:
        return None
    except DamagedFile:
        if name in DRIVERS and not os.path.isdir(store.run):
            return None  # nobody has run since the machine came up: nothing in it counts any more
        raise
    if network["Name"] != name:
        raise DamagedFile(path, "it is of another network")
    if network["Leases"] and not {"Device", "Subnet", "Gateway"} <= network.keys():
        raise DamagedFile(path, "it has leases, and no subnet")
    return network


def read_or_skip(store: Store, name: str) -> dict[str, Any] | None:
    """The same; None where it is damaged, which is passed over: for who looks at every network."""
    try:
        return read(store, name)
    except DamagedFile as error:
        document.report_skipped(error)
        return None


def list_names(store: Store) -> list[str]:
    """The networks that have a file."""
    try:
        entries = os.listdir(store.networks)
    except FileNotFoundError:
        return []
    return [entry.removesuffix(".json") for entry in entries if entry.endswith(".json")]


def read_all(store: Store) -> list[dict[str, Any]]:
    """The files of all networks, as they are just now; damaged ones are passed over."""
    found = [read_or_skip(store, name) for name in list_names(store)]
    return [network for network in found if network is not None]


def is_complete(network: dict[str, Any]) -> bool:
    """Whether a network was made to its end: one that people make has its subnet by then."""
    return "Asked" not in network or "Subnet" in network


def remove_temporary_files(store: Store) -> None:
    """Remove the file of a writer that was killed before it could put it in its place."""
    try:
        entries = os.listdir(store.networks)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.endswith(".new"):
            with LockedNetworks(store):
                _remove(f"{store.networks}/{entry}")


def list_bindings(network: dict[str, Any], *, without: str = "") -> list[dict[str, Any]]:
    """The published ports of all containers on a network, except one's."""
    return [
        {**binding, "Address": lease["Address"], "Container": container_id}
        for container_id, lease in network["Leases"].items()
        for binding in lease.get("Bindings", ())
        if container_id != without
    ]


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
