"""Who is called how on which network, by the networks' files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minidock.engine.network.dns.records import DnsRecords
from minidock.engine.network.network_json import LockedNetworks
from minidock.paths import Store


def network(
    name: str, *, internal: bool = False, **leases: tuple[str, list[str]]
) -> dict[str, object]:
    told = {
        "Name": name, "Id": name, "Created": "", "Driver": "bridge", "Internal": internal,
        "Asked": {}, "Device": "br", "Subnet": "10.0.0.0/8", "Gateway": "10.0.0.1",
    }  # fmt: skip
    return {
        **told,
        "Leases": {
            i: {"Address": address, "Names": names} for i, (address, names) in leases.items()
        },
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path))
    with LockedNetworks(made) as files:
        files.save(network("front", me=("10.1.0.2", ["me"]), web=("10.1.0.3", ["web", "Www"])))
        files.save(network("back.end", me=("10.2.0.2", ["me"]), db=("10.2.0.3", ["db", "shared"]),
                           db2=("10.2.0.4", ["db2", "shared"])))  # fmt: skip
        files.save(network("far", other=("10.3.0.2", ["other"])))
        files.save({**network("bridge", me=("10.4.0.2", [])), "Leases": {
            "me": {"Address": "10.4.0.2"}, "old": {"Address": "10.4.0.3"}}})  # fmt: skip
    return made


def test_names_of_all_its_networks_are_known_and_no_others(store: Store) -> None:
    directory = DnsRecords(store, "me")
    assert directory.addresses("web") == ["10.1.0.3"]
    assert directory.addresses("www") == ["10.1.0.3"]
    assert directory.addresses("www.front") == ["10.1.0.3"]
    assert directory.addresses("db.back.end") == ["10.2.0.3"]
    assert directory.addresses("shared") == ["10.2.0.3", "10.2.0.4"]
    for unknown in ("other", "other.far", "old", "web.back.end", "db.front", "front", ""):
        assert directory.addresses(unknown) is None, unknown


def test_address_has_the_name_of_its_container(store: Store) -> None:
    directory = DnsRecords(store, "me")
    assert directory.name_of("10.1.0.3") == "web.front"
    assert directory.name_of("10.3.0.2") == directory.name_of("10.4.0.3") == ""


def test_change_is_seen_though_the_clock_has_not_moved_and_the_inode_is_used_again(
    store: Store,
) -> None:
    """The kernel's clock ticks every few milliseconds, and ext4 gives a free inode to the next."""
    directory = DnsRecords(store, "me")
    assert directory.addresses("web") == ["10.1.0.3"]
    path = Path(store.network("front"))
    before = path.stat()
    path.write_text(json.dumps(network("front", me=("10.1.0.2", ["me"]))))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert directory.addresses("web") is None


def test_change_is_seen_at_once(store: Store) -> None:
    directory = DnsRecords(store, "me")
    assert directory.addresses("new") is None
    with LockedNetworks(store) as files:
        files.save(network("front", me=("10.1.0.2", ["me"]), new=("10.1.0.9", ["new"])))
    assert directory.addresses("new") == ["10.1.0.9"]
    assert directory.addresses("web") is None
    with LockedNetworks(store) as files:
        files.remove("front")
    assert directory.addresses("new") is None


def test_container_on_internal_networks_only_asks_nobody_outside(store: Store) -> None:
    assert DnsRecords(store, "me").may_forward
    with LockedNetworks(store) as files:
        files.save(network("closed", internal=True, alone=("10.5.0.2", ["alone"])))
    assert not DnsRecords(store, "alone").may_forward
