"""Taking a container off its network, while others are being connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minidock.engine.network import networks, veth_pair
from minidock.engine.network.network_json import LockedNetworks, list_bindings, read
from minidock.paths import Store

PUBLISHED = {"HostIp": "", "HostPort": 8090, "Proto": "tcp", "ContainerPort": 80}


def test_nobody_puts_the_rules_of_a_leaving_container_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    lease = {"Address": "172.30.0.2", "Bindings": [PUBLISHED], "Cable": "veth0"}
    with LockedNetworks(store) as files:
        files.save({
            "Name": "bridge", "Id": "1", "Created": "", "Driver": "bridge", "Device": "br",
            "Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1", "Leases": {"leaving": lease},
        })  # fmt: skip
    seen_meanwhile: list[list[dict[str, Any]]] = []

    def unplug(host: object, cable: str) -> None:
        state = read(store, "bridge")
        assert state is not None and "leaving" in state["Leases"]  # its address is still its own
        seen_meanwhile.append(
            list_bindings(state)
        )  # what another container's connect would publish

    monkeypatch.setattr(veth_pair, "detach", unplug)
    monkeypatch.setattr(networks, "apply_rules", lambda store, state, *, without="": None)
    networks.disconnect(store, "leaving")
    assert seen_meanwhile == [[]]
    after = read(store, "bridge")
    assert after is not None and after["Leases"] == {}
