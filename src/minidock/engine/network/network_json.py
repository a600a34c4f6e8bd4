"""The network files of the store: subnet, bridge, and the leases of addresses.

    networks/bridge.json   {"Name", "Id" (64 hex digits), "Created", "Driver",
                            "Device", "Subnet", "Gateway",
                            "Leases": {container id: {"Address", "EndpointID", "MacAddress",
                                                      "Bindings": [published port, ...]}}}
    networks/<name>.json   a user-defined network: the same, and its requested configuration:
                           "Internal", "Attachable", "Labels", "Options", and "Asked" (IPAM)
    networks/host.json, networks/none.json: without device, subnet and leases

The lease of a connected container also has "Cable" (the veth's end on the host), "Interface" (the
device's name in the container) and, on a user-defined network, "Names", its DNS names.

One lock, that of the directory, protects all of them: `LockedNetworks`. A lease is written before
its kernel objects are created, and removed after they are deleted, so that after an interruption
the file names everything that may exist.

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
    from minidock.document import Shape
    from minidock.document_types.network import ContainerBinding, NetworkDocument
    from minidock.paths import Store

_BINDING: Shape = {"HostIp": str, "HostPort": (int, str), "Proto": str, "ContainerPort": (int, str)}
_LEASE: Shape = {
    "Address": str, "EndpointID?": str, "MacAddress?": str, "Bindings?": [_BINDING],
    "Cable?": str, "Interface?": str, "Names?": ([str], None),
}  # fmt: skip
_SHAPE: Shape = {
    "Name": str, "Id": str, "Created": str, "Driver": str, "Leases": Each(_LEASE), "Device?": str,
    "Subnet?": str, "Gateway?": str, "Internal?": bool, "Attachable?": bool,
    "Labels?": (Each(str), None), "Options?": (Each(str), None), "Asked?": (dict, None),
}  # fmt: skip
_CONNECTED = {"EndpointID", "MacAddress", "Bindings", "Cable", "Interface"}  # what a lease has
DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}


class LockedNetworks:
    """A context manager: exclusive access to the network files of a store.

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

    def load(self, name: str) -> NetworkDocument | None:
        """Return a network's state; None if it has no file."""
        return read(self._store, name)

    def save(self, network: NetworkDocument) -> None:
        """Replace a network's file atomically.

        User-defined networks survive a power failure. The three predefined ones need not: they are
        created again, and every `run` writes them.
        """
        path = self._store.network(network["Name"])
        text = jsontext.dumps(network) + "\n"
        try:
            document.write(
                path, text, durable="Asked" in network, beside=f"{path}.new", over_when_full=True
            )
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from None

    def load_or_make(self, name: str) -> NetworkDocument:
        """Return a network's state; a predefined network without a file gets a new id."""
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

    def require(self, name: str) -> NetworkDocument:
        """Return a network's state; predefined networks are created at first use.

        Raises NotFound.
        """
        found = self.load_or_make(name) if name in DRIVERS else self.load(name)
        if found is None:
            raise NotFound(f"network {name} not found", hint="see: minidock network ls")
        return found

    def remove(self, name: str) -> None:
        """Remove a network's file. Idempotent."""
        _remove(self._store.network(name))


def read(store: Store, name: str) -> NetworkDocument | None:
    """Read a network's file without the lock; do not write the result back.

    Returns None if it does not exist. Raises DamagedFile.
    """
    if not is_component(name):
        return None
    path = store.network(name)
    try:
        network: NetworkDocument = document.read(path, _SHAPE)
    except FileNotFoundError:
        return None
    except DamagedFile:
        if name in DRIVERS and not os.path.isdir(store.run):
            return None  # no container has run since boot, so the content is stale anyway
        raise
    if network["Name"] != name:
        raise DamagedFile(path, "it belongs to another network")
    if network["Leases"] and not {"Device", "Subnet", "Gateway"} <= network.keys():
        raise DamagedFile(path, "it has leases, but no subnet")
    for lease in network["Leases"].values():
        if "EndpointID" in lease and not _CONNECTED <= lease.keys():
            raise DamagedFile(path, "a lease is incomplete")
    return network


def read_or_skip(store: Store, name: str) -> NetworkDocument | None:
    """Read a network's file; a damaged one is reported and skipped (None)."""
    try:
        return read(store, name)
    except DamagedFile as error:
        document.report_skipped(error)
        return None


def list_names(store: Store) -> list[str]:
    """List the names of networks that have a file."""
    try:
        entries = os.listdir(store.networks)
    except FileNotFoundError:
        return []
    return [entry.removesuffix(".json") for entry in entries if entry.endswith(".json")]


def read_all(store: Store) -> list[NetworkDocument]:
    """Read all network files without the lock; damaged ones are reported and skipped."""
    found = [read_or_skip(store, name) for name in list_names(store)]
    return [network for network in found if network is not None]


def is_complete(network: NetworkDocument) -> bool:
    """Whether creation has finished: a user-defined network has a subnet then."""
    return "Asked" not in network or "Subnet" in network


def remove_temporary_files(store: Store) -> None:
    """Remove files of writers that were killed before the rename."""
    try:
        entries = os.listdir(store.networks)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.endswith(".new"):
            with LockedNetworks(store):
                _remove(f"{store.networks}/{entry}")


def list_bindings(network: NetworkDocument, *, without: str = "") -> list[ContainerBinding]:
    """List the published ports of all containers on a network, except one container's."""
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
