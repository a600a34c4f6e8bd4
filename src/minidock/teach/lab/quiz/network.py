"""Questions about the container's network: its veth pair, its bridge, and the iptables rules."""

from __future__ import annotations

import os
import re
import socket
import time

from minidock.teach.lab.quiz.kernel import (
    connections,
    default_gateway,
    holders,
    link_by_index,
    links,
    nat_rules,
    status,
)
from minidock.teach.lab.quiz.question import Answer, Prompt, last_question, question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.lab.quiz.question import Steps
    from minidock.teach.lab.quiz.scene import Scene

_TRIES = 20
_PATIENCE_SECONDS = 5.0
_ESTABLISHED, _LISTENING = "01", "0A"


def _address(scene: Scene) -> str:
    """The container's address: the first of eth0, read in its network namespace."""
    result = scene.exec("ip", "-4", "-o", "address", "show", "dev", "eth0").output
    return result.split()[3].partition("/")[0]


@question
def gateway(scene: Scene) -> Steps:
    found = default_gateway(scene.pid)
    address = _address(scene)
    yield Prompt(
        "To which address does the container send packets for other networks?",
        *sorted({"127.0.0.1", address, found, found.rpartition(".")[0] + ".254"}),
        hint=f"ip -4 address show {scene.store.bridge}",
    )
    yield Answer(
        default_gateway(scene.pid),
        why="The bridge is a switch that has an address on the host: so the host is the router.",
        command=f"minidock exec {scene.name} ip route; ip -4 address show {scene.store.bridge}",
    )


@question
def veth(scene: Scene) -> Steps:
    others = [name for name in links() if not name.startswith("veth")]
    end = link_by_index(int(scene.exec("cat", "/sys/class/net/eth0/iflink").output))
    yield Prompt(
        "The container's eth0 is one end of a veth pair. Which interface of the host is the other?",
        *sorted({end, scene.store.bridge, "lo", others[0]}),
        hint="ip link",
    )
    yield Answer(
        link_by_index(int(scene.exec("cat", "/sys/class/net/eth0/iflink").output)),
        why="A veth pair: a packet sent on one end is received on the other, here in another "
        "network namespace. The host's end is attached to the bridge.",
        command=f"minidock exec {scene.name} cat /sys/class/net/eth0/iflink; ip -o link show {end}",
    )


@question
def rule_of_the_port(scene: Scene) -> Steps:
    address, port = _address(scene), scene.port
    yield Prompt(
        f"Port {port} of this host is published. To which destination does the firewall rule "
        f"change a packet to it?",
        f"127.0.0.1:{port}", f"{address}:{port}", f"{address}:80", "127.0.0.1:80",
    )  # fmt: skip
    rule = next(r for r in nat_rules() if f"--dport {port} " in r and "DNAT" in r)
    yield Answer(
        rule.rpartition("--to-destination ")[2].strip(),
        why="DNAT: the kernel writes the container's own address and port into the packet, and "
        "back into the answer.",
        command=f"iptables-save -t nat | grep 'dport {port} '",
    )


@question
def chain_of_a_local_packet(scene: Scene) -> Steps:
    yield Prompt(
        f"A program of this host connects to 127.0.0.1:{scene.port}. In which chain of the nat "
        "table does its first packet meet the rule?",
        "PREROUTING", "OUTPUT", "INPUT", "FORWARD",
    )  # fmt: skip
    yield Answer(
        _counted_in(scene),
        why="PREROUTING is for packets that come in by an interface. What the host itself sends "
        "begins in OUTPUT, so a published port needs a rule in both.",
        command=f"minidock packet {scene.port}",
    )


def _counted_in(scene: Scene) -> str:
    """The chain whose jump to the container's rule counts a packet of a new connection."""
    seen = ""
    for _ in range(_TRIES):
        before = _jumps(scene)
        with socket.create_connection(("127.0.0.1", scene.port)):
            after = _jumps(scene)
        grown = [chain for chain in before if after[chain] > before[chain]]
        if len(grown) == 1:
            return grown[0]
        seen = ", ".join(grown)  # others' packets were counted, too: once more
    return seen or "none"


def _jumps(scene: Scene) -> dict[str, int]:
    """The number of packets that each built-in nat chain has sent to the container's rule."""
    rules = nat_rules()
    rule = next(r for r in rules if f"--dport {scene.port} " in r and "DNAT" in r)
    target = rule.split("-A ")[1].split()[0]
    found: dict[str, int] = {}
    for line in rules:
        if line.endswith(f"-j {target}"):
            packets = re.match(r"\[([0-9]+):", line)
            chain = line.split("-A ")[1].split()[0]
            found[chain] = found.get(chain, 0) + int(packets[1] if packets else 0)
    return found


@question
def sender(scene: Scene) -> Steps:
    bridge = default_gateway(scene.pid)
    yield Prompt(
        f"This host connects to 127.0.0.1:{scene.port}. Which address does httpd see as the "
        "client's?",
        "127.0.0.1", bridge, _address(scene), "0.0.0.0",
    )  # fmt: skip
    yield Answer(
        _peer(scene),
        why="An answer to 127.0.0.1 would never leave the container. So the packet's source is "
        "changed to the bridge's address (MASQUERADE).",
        command=f"minidock packet {scene.port}",
    )


def _peer(scene: Scene) -> str:
    """The client address that httpd sees of a connection; it may appear with a delay."""
    pid = scene.pid
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with socket.create_connection(("127.0.0.1", scene.port)):
        while time.monotonic() < deadline:
            for peer, state, _ in connections(pid, 80):
                if state == _ESTABLISHED:
                    return peer
            time.sleep(0.005)
    return "none"


@question
def holder_of_the_port(scene: Scene) -> Steps:
    yield Prompt(
        f"What reserves port {scene.port} of the host, so that no other server can bind it?",
        "httpd", "the container's monitor", "the kernel: the rule is enough", "this quiz",
    )  # fmt: skip
    known = {scene.pid: "httpd", scene.monitor: "the container's monitor", os.getpid(): "this quiz"}
    found = "the kernel: the rule is enough"
    for _, state, number in connections("self", scene.port):
        if state == _LISTENING and (owners := holders(number, list(known))):
            found = known[owners[0]]
            break
    yield Answer(
        found,
        why="A rule does not reserve the port: a server could bind it, but would get no "
        "connections. The monitor binds it, and forwards what the rules do not redirect.",
        command=f"ss -ltnp 'sport = :{scene.port}'",
    )


@question
def published_port_inside(scene: Scene) -> Steps:
    yield Prompt(
        f"In the container:  wget -O- http://127.0.0.1:{scene.port}/hostname",
        "its host name", "connection refused", "no answer at all",
    )  # fmt: skip
    result = scene.exec("wget", "-q", "-T", "3", "-O-", f"http://127.0.0.1:{scene.port}/hostname")
    answers = {"refused": "connection refused", "timed out": "no answer at all"}
    found = next((text for words, text in answers.items() if words in result.output), result.output)
    yield Answer(
        found if result.code else "its host name",
        why="127.0.0.1 is the container's own lo, and there httpd listens on port 80. The "
        "published port is the host's.",
        command=f"minidock exec {scene.name} netstat -ltn",
    )


@last_question
def pid_after_restart(scene: Scene) -> Steps:
    yield Prompt(
        "The container is stopped and started. Of its PID 1, what is the same as before?",
        "its pid inside", "its pid on the host", "both", "neither",
    )  # fmt: skip
    before = scene.pid
    scene.restart()
    inside = status(scene.pid, "NSpid").split()[-1]
    same = (inside == "1", scene.pid == before)
    words = {(True, False): "its pid inside", (False, True): "its pid on the host",
             (True, True): "both", (False, False): "neither"}  # fmt: skip
    yield Answer(
        words[same],
        why="It is another process in a new PID namespace, in which it is the first again.",
        command=f"minidock inspect -f '{{{{.State.Pid}}}}' {scene.name}",
    )
