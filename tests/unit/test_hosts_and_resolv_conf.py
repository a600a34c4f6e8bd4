"""/etc/hosts and /etc/resolv.conf of a container, as Docker 26.1 writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.engine.network import hosts_file, resolv_conf
from minidock.errors import UsageError

LOCALHOST = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def test_hosts_has_dockers_lines_in_dockers_order() -> None:
    extra = ["a:1.2.3.4", "b:host-gateway", "six:2001:db8::1", "other=[::2]"]
    assert hosts_file.hosts_file("hh", "172.17.0.3", extra, gateway="172.17.0.1") == (
        LOCALHOST + "1.2.3.4\ta\n172.17.0.1\tb\n2001:db8::1\tsix\n::2\tother\n172.17.0.3\thh\n"
    )


def test_hosts_without_an_address_names_no_container() -> None:
    assert hosts_file.hosts_file("hh", "") == LOCALHOST


def test_dotted_hostname_is_also_known_by_its_first_label() -> None:
    assert hosts_file.hosts_file("web.example.org", "10.0.0.2").endswith(
        "10.0.0.2\tweb.example.org web\n"
    )
    assert hosts_file.hosts_file("web.d web", "10.0.0.2").endswith("10.0.0.2\tweb.d web\n")


def test_container_on_the_hosts_network_has_the_hosts_names(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost vm")
    text = hosts_file.hosts_file(
        "hh", "", ["a:1.2.3.4"], own_network=False, host_path=str(tmp_path / "hosts")
    )
    assert text == "127.0.0.1 localhost vm\n1.2.3.4\ta\n"


@pytest.mark.parametrize(
    "entry",
    ["noip", ":1.2.3.4", "a:1.2.3.999", "a:", "a\nb:1.2.3.4", "x y:1.2.3.4", "a:1.2.3.4\n6.6.6.6 b",
     "a:1.2.3.4 b", "#a:1.2.3.4", "a\0:1.2.3.4", "a:1.2.3.4\0"],
)  # fmt: skip
def test_extra_host_that_would_write_another_line_is_refused(entry: str) -> None:
    with pytest.raises(UsageError):
        hosts_file.hosts_file("hh", "10.0.0.2", [entry])


def test_host_gateway_needs_a_gateway() -> None:
    with pytest.raises(UsageError, match="host-gateway"):
        hosts_file.hosts_file("hh", "", ["b:host-gateway"])


@pytest.mark.parametrize("hostname", ["", "-a", "a-", "a b", "a\nb", "a..b", "x" * 65, "a/b", "ä"])
def test_what_is_no_hostname_is_refused(hostname: str) -> None:
    with pytest.raises(UsageError):
        hosts_file.check_hostname(hostname)


@pytest.mark.parametrize("hostname", ["a", "web-1", "a.b.c", "x" * 64, "1", "under_score"])
def test_hostnames_are_accepted(hostname: str) -> None:
    hosts_file.check_hostname(hostname)
    assert f"10.0.0.2\t{hostname}" in hosts_file.hosts_file(hostname, "10.0.0.2", [])


def _resolv(tmp_path: Path, text: str, *arguments: list[str], **options: bool) -> list[str]:
    (tmp_path / "resolv.conf").write_text(text)
    made = resolv_conf.resolv_conf(
        *arguments,
        host_path=str(tmp_path / "resolv.conf"),
        resolved_path=str(tmp_path / "resolved.conf"),
        **options,
    )
    return [line for line in made.splitlines() if line and not line.startswith("#")]


HOST = """\
# a comment
nameserver 127.0.0.1
nameserver 10.0.0.53
nameserver fe80::1%eth0
nameserver 2001:db8::53
search example.org  lan
options ndots:2 timeout:1
sortlist 130.155.160.0/255.255.240.0
"""


def test_resolv_conf_keeps_what_a_container_can_reach(tmp_path: Path) -> None:
    assert _resolv(tmp_path, HOST) == [
        "nameserver 10.0.0.53",
        "search example.org lan",
        "options ndots:2 timeout:1",
        "sortlist 130.155.160.0/255.255.240.0",
    ]


def test_resolv_conf_on_the_hosts_network_keeps_all_servers(tmp_path: Path) -> None:
    lines = _resolv(tmp_path, HOST, own_network=False)
    assert [line.split()[1] for line in lines if line.startswith("nameserver")] == [
        "127.0.0.1", "10.0.0.53", "fe80::1%eth0", "2001:db8::53",
    ]  # fmt: skip


def test_resolv_conf_takes_resolveds_servers_in_place_of_its_stub(tmp_path: Path) -> None:
    (tmp_path / "resolved.conf").write_text("nameserver 10.0.0.99\nsearch lan\n")
    stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n"
    assert _resolv(tmp_path, stub) == ["nameserver 10.0.0.99", "search lan"]
    assert "nameserver 127.0.0.53" in _resolv(tmp_path, stub, own_network=False)


def test_resolv_conf_without_any_server_left_has_dockers_fallback(tmp_path: Path) -> None:
    assert _resolv(tmp_path, "nameserver ::1\n") == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]


def test_flags_replace_the_hosts_lines(tmp_path: Path) -> None:
    assert _resolv(tmp_path, HOST, ["127.0.0.1", "::1"], ["x.y", "z"], ["ndots:5"])[:4] == [
        "nameserver 127.0.0.1", "nameserver ::1", "search x.y z", "options ndots:5",
    ]  # fmt: skip
    assert not any(line.startswith("search") for line in _resolv(tmp_path, HOST, [], ["."]))


@pytest.mark.parametrize(
    "arguments",
    [(["foo"],), (["1.2.3.4\nsearch evil"],), ([], ["a b"]), ([], ["a\nnameserver 6.6.6.6"]),
     ([], [""]), ([], [], ["ndots:1\nnameserver 6.6.6.6"]), ([], ["#x"])],
)  # fmt: skip
def test_flag_that_would_write_another_line_is_refused(arguments: tuple[list[str], ...]) -> None:
    with pytest.raises(UsageError):
        resolv_conf.resolv_conf(*arguments)


def test_container_with_names_served_asks_its_own_server_only(tmp_path: Path) -> None:
    assert _resolv(tmp_path, HOST, use_dns_server=True)[:3] == [
        "nameserver 127.0.0.11", "search example.org lan", "options ndots:2 timeout:1",
    ]  # fmt: skip
    assert _resolv(tmp_path, "nameserver 9.9.9.9\n", use_dns_server=True) == [
        "nameserver 127.0.0.11", "options ndots:0",
    ]  # fmt: skip


def test_name_server_asks_whom_the_host_asks(tmp_path: Path) -> None:
    conf, resolved = tmp_path / "resolv.conf", tmp_path / "resolved.conf"
    paths = {"host_path": str(conf), "resolved_path": str(resolved)}
    conf.write_text(HOST)
    assert resolv_conf.upstream_servers(**paths) == [  # type: ignore[arg-type]
        ("127.0.0.1", True), ("10.0.0.53", False), ("fe80::1%eth0", True), ("2001:db8::53", True),
    ]  # fmt: skip
    assert resolv_conf.upstream_servers(["127.0.0.1"], **paths) == [("127.0.0.1", False)]  # type: ignore[arg-type]
    conf.write_text("nameserver 127.0.0.53\n")
    assert resolv_conf.upstream_servers(**paths) == [("127.0.0.53", True)]  # type: ignore[arg-type]
    resolved.write_text("nameserver 10.0.0.99\n")
    assert resolv_conf.upstream_servers(**paths) == [("10.0.0.99", False)]  # type: ignore[arg-type]


def test_each_address_has_a_line_in_hosts() -> None:
    text = hosts_file.hosts_file("hh", "10.0.0.2", further=["10.1.0.2"])
    assert text.endswith("10.0.0.2\thh\n10.1.0.2\thh\n")
