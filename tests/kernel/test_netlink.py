"""Messages to the kernel about links, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minidock.errors import KernelError
from minidock.kernel import link, netlink, sysctl
from minidock.kernel.netlink import Netlink, attribute, attributes
from support.lab import Lab, machine_of_its_own, sh

pytestmark = pytest.mark.root


@pytest.fixture
def lab() -> Iterator[Lab]:
    with machine_of_its_own() as made:
        yield made


def test_attributes_survive_packing() -> None:
    packed = attribute(1, b"a") + attribute(2, attribute(3, b"inner")) + attribute(4, b"")
    found = attributes(packed)
    assert found == {1: b"a", 2: attribute(3, b"inner"), 4: b""}
    assert len(packed) % 4 == 0


def test_truncated_attributes_end_the_reading() -> None:
    assert attributes(b"\0\0\0\0" + attribute(1, b"a")) == {}
    assert attributes(attribute(1, b"a") + b"\1") == {1: b"a"}


def test_link_is_seen_as_ip_shows_it(lab: Lab) -> None:
    with Netlink() as here:
        link.add_bridge(here, "br7", mac="02:42:0a:00:00:01")
        link.set_alias(here, "br7", "whose it is")
        link.add_address(here, "br7", "10.0.7.1", prefix=24)
        link.set_up(here, "br7")
        found = link.require(here, "br7")
        assert (found.kind, found.alias, found.master) == ("bridge", "whose it is", 0)
        assert found.flags & link.IFF_UP
        assert (found.index, "10.0.7.1", 24) in link.list_addresses(here)
        assert ("10.0.7.0", 24) in link.list_routes(here)
    shown = sh("ip -o link show br7; ip -o address show br7")
    assert "02:42:0a:00:00:01" in shown and "10.0.7.1/24 brd 10.0.7.255" in shown


def test_errors_carry_the_errno_and_the_kernels_words(lab: Lab) -> None:
    with Netlink() as here:
        with pytest.raises(KernelError, match=r"nosuch up: No such device \(ENODEV\)"):
            link.set_up(here, "nosuch")
        link.add_bridge(here, "br7", mac="02:42:0a:00:00:01")
        with pytest.raises(KernelError, match="EEXIST"):
            link.add_bridge(here, "br7", mac="02:42:0a:00:00:01")
        link.set_up(here, "br7")
        with pytest.raises(KernelError, match="ENETUNREACH") as raised:
            link.add_default_route(here, "br7", "10.9.9.9")
        assert raised.value.hint == "the kernel says: Nexthop has invalid gateway"
        with pytest.raises(KernelError, match="1 to 15 characters|EINVAL"):
            link.set_up(here, "x" * 16)


def test_deleting_what_is_gone_does_nothing(lab: Lab) -> None:
    with Netlink() as here:
        link.add_bridge(here, "br7", mac="02:42:0a:00:00:01")
        assert link.delete(here, "br7") is True
        assert link.delete(here, "br7") is False
        assert link.find(here, "br7") is None


def test_dump_of_many_objects_is_complete(lab: Lab) -> None:
    sh("for i in $(seq 1 250); do echo address add 10.1.$i.1/24 dev lan0; done | ip -batch -")
    with Netlink() as here:
        routes = {route for route in link.list_routes(here) if route[1] == 24}
        assert {(f"10.1.{i}.0", 24) for i in range(1, 251)} <= routes


class Changing:
    """A kernel whose list changes while it is read for the first time; one object gets lost."""

    def __init__(self) -> None:
        self.asked = 0

    def send(self, request: bytes) -> None:
        self.asked += 1
        sequence = netlink._HEADER.unpack_from(request)[3]

        def message(kind: int, content: bytes, flags: int = 0) -> bytes:
            length = netlink._HEADER.size + len(content)
            return netlink._HEADER.pack(length, kind, flags, sequence, 0) + content

        first, second = message(netlink.RTM_NEWLINK, b"one "), message(netlink.RTM_NEWLINK, b"two ")
        if self.asked == 1:
            second = message(netlink.RTM_NEWLINK, b"new ", netlink.NLM_F_DUMP_INTR)
        self.parts = [first, second, message(netlink.NLMSG_DONE, bytes(4))]

    def recv(self, _: int) -> bytes:
        return self.parts.pop(0)


def test_list_that_changes_while_it_is_read_is_asked_for_again() -> None:
    with Netlink() as here:
        here._socket.close()
    kernel = here._socket = Changing()  # type: ignore[assignment]
    assert here.dump(netlink.RTM_GETLINK, b"", subject="link") == [b"one ", b"two "]
    assert kernel.asked == 2


def test_settings_are_those_of_the_namespace(lab: Lab) -> None:
    assert sysctl.read("net/ipv4/conf/nosuch/forwarding") is None
    sysctl.write("net/ipv4/ip_forward", "1")
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    with pytest.raises(KernelError, match="ENOENT"):
        sysctl.write("net/ipv4/nosuch", "1")
    with pytest.raises(KernelError, match="EINVAL"):
        sysctl.write("net/ipv4/ip_forward", "many")
