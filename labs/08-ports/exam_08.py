"""Lab 08: connections from the LAN, from the host, from box to box.

    the neighbour 10.77.0.2 ── 10.77.0.1 the host ──br8── the web box 172.30.0.2, 8080:80
                                                     └─── the other    172.30.0.3, 8081:80, 8082:81

Servers and clients are the exam's own sockets, made inside these networks; so the caller's address
that a probe tells of is the one that a server really sees.
"""

import signal
from dataclasses import dataclass
from functools import cached_property

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Neighbour,
    Network,
    Program,
    RunningBox,
    Sandbox,
    Snapshot,
    eventually,
    scene,
)

BRIDGE, GATEWAY = "br8", "172.30.0.1"
HOST = "10.77.0.1"
WEB, OTHER, GUEST, LAST = "172.30.0.2", "172.30.0.3", "172.30.0.4", "172.30.0.5"


@dataclass
class Box:
    """A running box, and the network that its command is in."""

    running: RunningBox
    net: Network


@dataclass
class HostAndLan:
    """The host, the LAN's neighbour, and the boxes."""

    sandbox: Sandbox
    host: Network
    neighbour: Neighbour
    web: Box

    @cached_property
    def other(self) -> Box:
        """The second box; started at the first access."""
        return published(self.sandbox, OTHER, "8081:80", "8082:81")

    def changed(self, before: Snapshot) -> list[str]:
        """Links and rules that are new, and those that are missing."""
        now = self.sandbox.snapshot()
        found = [f"left: {each}" for each in now.list_new_since(before)]
        found += [f"missing: {each}" for each in before.list_new_since(now)]
        return [each for each in found if each.split(": ")[1].startswith(("link ", "rule "))]


@scene
def host_and_lan(sandbox: Sandbox) -> HostAndLan:
    """A host that does not forward yet, and a box that publishes one port."""
    neighbour, host = sandbox.neighbour(), sandbox.network()
    host.write_sysctl("net/ipv4/ip_forward", "0")
    return HostAndLan(sandbox, host, neighbour, published(sandbox, WEB, "8080:80"))


def options(address: str, *ports: str) -> list[str]:
    where = ["--network", BRIDGE, "--ip", f"{address}/24", "--gateway", GATEWAY]
    return where + [word for each in ports for word in ("--publish", each)]


def published(sandbox: Sandbox, address: str, *ports: str) -> Box:
    """One more box, whose ports are published as "HOSTPORT:PORT"."""
    running = sandbox.start_box(*options(address, *ports), sandbox.rootfs)
    return Box(running, running.command.network())


def outgoing(exam: Exam) -> str:
    lan = exam.of(host_and_lan).neighbour
    with lan.listen(9000) as server:
        seen = exam.of(host_and_lan).web.net.connect(lan.address, 9000, server)
    if seen != HOST:
        raise Failure(f"the box connected to {lan.address}, which saw the box's own {seen}")
    return f"the box connected to {lan.address}, which saw the host's {seen}"


def published_to_lan(exam: Exam) -> str:
    with exam.of(host_and_lan).web.net.listen(80) as server:
        exam.of(host_and_lan).neighbour.connect(HOST, 8080, server)
    return f"the neighbour connected to {HOST}:8080, and the box's port 80 answered"


def client_seen(exam: Exam) -> str:
    lan = exam.of(host_and_lan).neighbour
    with exam.of(host_and_lan).web.net.listen(80) as server:
        seen = lan.connect(HOST, 8080, server)
    if seen != lan.address:
        raise Failure(f"the server in the box saw {seen} as the address of {lan.address}")
    return f"the server in the box saw the client's {seen}"


def own_address(exam: Exam) -> str:
    with exam.of(host_and_lan).web.net.listen(80) as server:
        exam.of(host_and_lan).host.connect(HOST, 8080, server)
    return f"the host connected to its own {HOST}:8080, and the box answered"


def localhost(exam: Exam) -> str:
    with exam.of(host_and_lan).web.net.listen(80) as server:
        seen = exam.of(host_and_lan).host.connect("127.0.0.1", 8080, server)
    return f"the host connected to 127.0.0.1:8080, and the box answered; it saw {seen}"


def same_inner_port(exam: Exam) -> str:
    web, other, lan = (
        exam.of(host_and_lan).web,
        exam.of(host_and_lan).other,
        exam.of(host_and_lan).neighbour,
    )
    with web.net.listen(80) as first, other.net.listen(80) as second:
        lan.connect(HOST, 8080, first)
        lan.connect(HOST, 8081, second)
    with other.net.listen(81) as third:
        lan.connect(HOST, 8082, third)
    return "8080 and 8081 led to port 80 of the one box and of the other, 8082 to its port 81"


def box_to_published(exam: Exam) -> str:
    with exam.of(host_and_lan).web.net.listen(80) as server:
        exam.of(host_and_lan).other.net.connect(HOST, 8080, server)
    return f"another box connected to {HOST}:8080, and got an answer"


def foreign_port(exam: Exam) -> str:
    lan = exam.of(host_and_lan).neighbour
    with lan.listen(8080) as server:
        for caller in (exam.of(host_and_lan).host, exam.of(host_and_lan).web.net):
            caller.connect(lan.address, 8080, server)
    return f"port 8080 of {lan.address} is still reachable"


def unpublished_closed(exam: Exam) -> str:
    with exam.of(host_and_lan).web.net.listen(81) as server:
        for address in (HOST, WEB):
            if exam.of(host_and_lan).neighbour.reaches(address, 81, server):
                raise Failure(f"the neighbour connected to {address}:81, and the box answered")
    return f"81, not published: the neighbour reached it neither by {HOST} nor by {WEB}"


def loopback_closed(exam: Exam) -> str:
    net = exam.of(host_and_lan).other.net
    for setting in ("route_localnet=1", "accept_local=1", "rp_filter=0"):  # as root in a box may
        name, _, value = setting.partition("=")
        for device in ("all", "eth0"):
            net.write_sysctl(f"net/ipv4/conf/{device}/{name}", value)
    with exam.of(host_and_lan).host.listen(9001, "127.0.0.1") as server:
        if net.reaches("127.0.0.1", 9001, server, device="eth0"):
            raise Failure(
                "a box called 127.0.0.1:9001 through eth0, and the host's loopback answered"
            )
    return "a box sent to 127.0.0.1 through eth0, and the host's loopback did not answer"


def forward_policy(exam: Exam) -> str:
    lan, web, sandbox = (
        exam.of(host_and_lan).neighbour,
        exam.of(host_and_lan).web,
        exam.of(host_and_lan).sandbox,
    )
    sandbox.nsenter("iptables", "--wait", "-P", "FORWARD", "DROP")
    try:
        with lan.listen(9000) as server:
            web.net.connect(lan.address, 9000, server)
        with web.net.listen(80) as server:
            lan.connect(HOST, 8080, server)
    finally:
        sandbox.nsenter("iptables", "--wait", "-P", "FORWARD", "ACCEPT")
    return "with FORWARD's policy at DROP, both directions still worked"


def port_taken(exam: Exam) -> str:
    sandbox = exam.of(host_and_lan).sandbox
    before = sandbox.snapshot()
    result = sandbox.run("run", *options(GUEST, "8080:80"), sandbox.rootfs, "echo", "started")
    if "started" in result.output or result.exit_code == 0:
        raise Failure("a second box that publishes 8080 was not refused")
    if changed := exam.of(host_and_lan).changed(before):
        raise Failure(f"a second box for 8080 was refused; {'; '.join(changed)}")
    return f"a second box for 8080 was refused: {result.summary()}"


def nothing_left(exam: Exam) -> str:
    sandbox = exam.of(host_and_lan).sandbox
    before = sandbox.snapshot()
    running = start_and_connect(exam, GUEST, 8090)
    sandbox.signal(running.command, signal.SIGKILL)
    return none_left(exam, before, running.program, after="the command was killed")


def nothing_left_after_term(exam: Exam) -> str:
    before = exam.of(host_and_lan).sandbox.snapshot()
    program = start_and_connect(exam, LAST, 8091).program
    program.signal(signal.SIGTERM)
    return none_left(exam, before, program, after="box got SIGTERM")


def start_and_connect(exam: Exam, address: str, host_port: int) -> RunningBox:
    """Start a box, and connect to it from the neighbour; keeps no reference to its network."""
    box = published(exam.of(host_and_lan).sandbox, address, f"{host_port}:80")
    with box.net.listen(80) as server:
        exam.of(host_and_lan).neighbour.connect(HOST, host_port, server)
    return box.running


def none_left(exam: Exam, before: Snapshot, program: Program, *, after: str) -> str:
    """Wait until box has ended, and links and rules are as before.

    The kernel may remove a veth pair only after box has ended.
    """
    program.wait()
    if not eventually(lambda: not exam.of(host_and_lan).changed(before)):
        raise Failure(f"{after}; {'; '.join(exam.of(host_and_lan).changed(before))}")
    return f"{after}, and the host's links and rules are as they were before"
