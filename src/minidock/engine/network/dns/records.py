"""DNS records of the containers on one container's networks.

They are read from the network files, where each connected container has its address and DNS names
(network_json.py): a name resolves as soon as its container is connected. An unchanged file is not
read again.

    web            name, alias, short id or hostname of a container on a shared network
    web.backend    the same, on the network "backend"
    172.19.0.2     -> web.backend (reverse lookup)

The default network has no DNS names. Source: what dockerd 26.1 answers.
"""

from __future__ import annotations

import os

from minidock.engine.network.network_json import list_names, read_or_skip
from minidock.engine.network.network_mode import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import Lease, NetworkDocument
    from minidock.paths import Store


class DnsRecords:
    """The records that one container can query."""

    def __init__(self, store: Store, container_id: str) -> None:
        self._store = store
        self._container_id = container_id
        self._read: dict[str, tuple[tuple[int, int, int], NetworkDocument]] = {}

    def addresses(self, name: str) -> list[str] | None:
        """Return the addresses of a name (in lower case); None if no container has it."""
        for network in self._networks():
            if network["Name"] == DEFAULT:
                continue
            suffix = "." + str(network["Name"]).lower()
            wanted = {name, name.removesuffix(suffix)}
            if found := [lease["Address"] for lease in _named(network, wanted)]:
                return found
        return None

    def name_of(self, address: str) -> str:
        """Return the name of an address as name.network; "" if no container has it."""
        for network in self._networks():
            for lease in network["Leases"].values():
                if lease["Address"] == address and (names := lease.get("Names")):
                    return f"{names[0]}.{network['Name']}"
        return ""

    @property
    def may_forward(self) -> bool:
        """Whether to forward queries: not for a container on internal networks only."""
        return any(not network.get("Internal") for network in self._networks())

    def _networks(self) -> list[NetworkDocument]:
        """Return the container's networks, sorted by name."""
        found = [self._load(name) for name in sorted(list_names(self._store))]
        return [n for n in found if n is not None and self._container_id in n["Leases"]]

    def _load(self, name: str) -> NetworkDocument | None:
        try:
            status = os.stat(self._store.network(name))
        except FileNotFoundError:
            return None
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._read.get(name)
        if known is not None and known[0] == version:
            return known[1]
        network = read_or_skip(self._store, name)
        if network is not None:
            self._read[name] = (version, network)
        return network


def _named(network: NetworkDocument, wanted: set[str]) -> list[Lease]:
    return [
        lease
        for lease in network["Leases"].values()
        if any(str(name).lower() in wanted for name in lease.get("Names") or ())
    ]
