"""packet: the kernel's trace events, by packet; and the addresses in /proc."""

from __future__ import annotations

import os
import socket
import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest

from minidock.errors import UsageError
from minidock.kernel import nftrace
from minidock.teach.packet import listeners
from minidock.teach.packet.firewall_trace import Rules, packet_traces
from minidock.teach.packet.listeners import Listener, _address
from minidock.teach.packet.target import parse

OWN = "minidock-packet-1"
SYN, SYN_ACK = 0x02, 0x12


class _Texts(Rules):
    def __init__(self) -> None:
        self._texts = {("nat", 7): "-A OUTPUT -j MINE", ("nat", 8): "-A MINE -j DNAT"}


def header(source: str, source_port: int, destination: str, port: int, flags: int) -> bytes:
    ip = struct.pack(">BxH4xBBxx", 0x45, 40, 64, 6)
    ip += socket.inet_aton(source) + socket.inet_aton(destination)
    return ip + struct.pack(">HH8xBB", source_port, port, 0x50, flags)


def event(packet: int, table: str, chain: str, **more: Any) -> nftrace.Event:
    known = {"family": 2, "kind": nftrace.RULE, "handle": 0, "verdict": -1, "header": b""}
    known |= {"came_by": 0, "leaves_by": 0, "to": ""}
    return cast(
        "nftrace.Event", SimpleNamespace(packet=packet, table=table, chain=chain, **known | more)
    )


def test_events_of_two_packets_are_distinguished_and_empty_jumps_left_out() -> None:
    call = header("127.0.0.1", 40000, "127.0.0.1", 8090, SYN)
    other = header("127.0.0.1", 41000, "127.0.0.1", 8090, SYN)
    found = packet_traces(
        [
            event(1, OWN, "output", header=call),
            event(2, OWN, "output", header=other),
            event(1, "nat", "OUTPUT", header=call, handle=9, verdict=nftrace.JUMP, to="OTHERS"),
            event(2, "nat", "OUTPUT", header=other, kind=nftrace.POLICY, verdict=nftrace.ACCEPT),
            event(1, "nat", "OTHERS"),
            event(1, "nat", "OUTPUT", handle=7, verdict=nftrace.JUMP, to="MINE"),
            event(1, "nat", "MINE", handle=8, verdict=nftrace.ACCEPT),
        ],
        OWN,
        _Texts(),
    )
    assert [[rule.text for s in way.chains for rule in s.rules] for way in found] == [
        ["-A OUTPUT -j MINE", "-A MINE -j DNAT"],
        ["-P OUTPUT ACCEPT"],
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("10.0.0.2", 40000, "10.0.0.1", 8090, SYN), ("10.0.0.2", 40000, "172.18.0.2", 80, SYN)),
        (
            ("172.18.0.2", 80, "172.18.0.1", 40000, SYN_ACK),
            ("127.0.0.1", 8090, "127.0.0.1", 40000, SYN_ACK),
        ),
    ],
)
def test_a_packet_that_goes_on_under_another_number_is_the_same(
    before: tuple[Any, ...], after: tuple[Any, ...]
) -> None:
    stranger = header("10.0.0.9", 5, "10.0.0.8", 6, SYN)
    found = packet_traces(
        [
            event(1, OWN, "prerouting", header=header(*before)),
            event(5, OWN, "forward", header=stranger),
            event(2, OWN, "forward", header=header(*after)),
            event(
                2,
                "filter",
                "FORWARD",
                kind=nftrace.POLICY,
                verdict=nftrace.DROP,
                header=header(*after),
            ),
        ],
        OWN,
        _Texts(),
    )
    assert len(found) == 1
    assert [chain_trace.chain for chain_trace in found[0].chains] == [
        "prerouting",
        "forward",
        "FORWARD",
    ]
    assert found[0].dropped_by


def test_what_is_followed_is_said_as_nft_takes_it() -> None:
    followed = nftrace.Followed(
        "prerouting", mark=0x6D640001, source=b"\xac\x12\x00\x02", source_port=80
    )
    words = "meta mark 0x6d640001 ip saddr 172.18.0.2 th sport 80 meta nftrace set 1"
    assert str(followed) == words


def test_addresses_of_proc_net_are_read() -> None:
    assert _address("0100007F:1F90") == ("127.0.0.1", 8080)
    assert _address("0000000000000000FFFF0000020012AC:0050") == ("172.18.0.2", 80)
    assert _address("00000000000000000000000001000000:0050") == ("::1", 80)
    assert parse("53/udp") == ("", 53, "udp")


@pytest.mark.parametrize(
    ("address", "heard"),
    [("0.0.0.0", True), ("::", True), ("172.18.0.2", True), ("127.0.0.1", False), ("::1", False)],
)
def test_who_hears_what_comes_by_the_cable(address: str, heard: bool) -> None:
    assert Listener(address, 80, "").accepts("172.18.0.2") == heard


def test_ports_are_parsed() -> None:
    assert parse("8090") == ("", 8090, "tcp")
    assert parse("127.0.0.1:8090/tcp") == ("127.0.0.1", 8090, "tcp")
    assert parse("[::1]:80") == ("::1", 80, "tcp")
    for fault in ("", "0", "65536", "x", "a:80", "8090/sctp", "٠", "1.2.3:80", "-1"):
        with pytest.raises(UsageError):
            parse(fault)


def test_the_holder_of_a_port_is_found_though_it_closes_other_files_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the monitor does, which relays connections."""
    listed = os.listdir
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(os, "listdir", lambda path: ["99999", *listed(path)])
        assert f"socket:[{os.fstat(server.fileno()).st_ino}]" in listeners._open_files(os.getpid())
    assert listeners._open_files(2**22 + 1) == []
