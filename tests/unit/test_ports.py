"""What -p asks for, read from Docker's PortBindings; and network modes."""

from __future__ import annotations

import pytest

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.exposed_ports import exposed_ports
from minidock.engine.network import published_ports
from minidock.engine.network.network_mode import parse_network_mode
from minidock.errors import UsageError


def test_bindings_are_read() -> None:
    asked = {
        "80/tcp": [{"HostIp": "", "HostPort": "8090"}, {"HostIp": "::1", "HostPort": "8000-8010"}],
        "53/udp": None,
    }
    assert published_ports.parse_bindings(asked) == [
        {"HostIp": "", "HostPort": "8090", "Proto": "tcp", "ContainerPort": 80},
        {"HostIp": "::1", "HostPort": "8000-8010", "Proto": "tcp", "ContainerPort": 80},
        {"HostIp": "", "HostPort": "", "Proto": "udp", "ContainerPort": 53},
    ]


def test_publish_all_adds_exposed_ports_that_have_no_binding() -> None:
    asked = {"80/tcp": [{"HostPort": "8090"}]}
    found = published_ports.parse_bindings(asked, ["80/tcp", "443/tcp"], publish_all=True)
    assert [(f["ContainerPort"], f["HostPort"]) for f in found] == [(80, "8090"), (443, "")]


@pytest.mark.parametrize(
    ("key", "binding"),
    [
        ("80/sctp", {}),
        ("0/tcp", {}),
        ("65536/tcp", {}),
        ("x/tcp", {}),
        ("80/tcp", {"HostPort": "65536"}),
        ("80/tcp", {"HostPort": "9-8"}),
        ("80/tcp", {"HostPort": "8000-"}),
        ("80/tcp", {"HostPort": "²"}),
        ("80/tcp", {"HostIp": "localhost"}),
        ("80/tcp", {"HostIp": "1.2.3.4 -j ACCEPT"}),
    ],
)
def test_what_cannot_be_published_is_refused(key: str, binding: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        published_ports.parse_bindings({key: [binding]})


def test_network_modes_are_distinguished() -> None:
    modes = ("", "default", "bridge", "host", "none")
    assert [parse_network_mode(text).kind for text in modes] == [
        "bridge", "bridge", "bridge", "host", "none",
    ]  # fmt: skip
    joined = parse_network_mode("container:web")
    assert (joined.kind, joined.target) == ("container", "web")


def test_a_network_is_named_and_a_nameless_container_is_refused() -> None:
    assert (parse_network_mode("foo").kind, parse_network_mode("foo").target) == ("bridge", "foo")
    with pytest.raises(UsageError, match=r"invalid container format container:<name\|id>"):
        parse_network_mode("container:")


@pytest.mark.parametrize("address", ["1.2", "1.2.3.4.5", "1.2.3.4\0"])
def test_an_address_of_expose_that_is_not_one_is_named(address: str) -> None:
    with pytest.raises(DockerfileError, match="Invalid ip address"):
        exposed_ports(f"{address}:1:80")
