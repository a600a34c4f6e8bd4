"""`packet`: trace a real packet to a published port and back, or a DNS query."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch, value
from minidock.errors import UsageError
from minidock.paths import Store


@command(
    "[ADDRESS:]PORT[/udp] | CONTAINER CONTAINER[:PORT] | CONTAINER --dns NAME",
    at_least=1,
    at_most=2,
)
@value(
    "--from",
    default="host",
    help='Where the packet starts: "host", "outside" (a neighbouring machine) or a container',
)
@value("--dns", default="", help="Trace a DNS query for this name, sent from CONTAINER")
@switch("--json", help="Print one JSON object")
def packet(arguments: tuple[str, ...], **flags: object) -> int:
    """Trace a packet to a published port or between containers, and back, or a DNS query

    Opens one TCP connection without data, or sends one empty UDP datagram, and prints each hop: the
    firewall rules that matched, the network devices, the program that answered, and the step of
    `minidock explain --all` that created each. Names a cause only if a check proves it. The exit
    code is 0 if the container answers, else 1.

    With --dns, sends one DNS query as the container's resolver would, and prints the servers, rules
    and sockets on its way, and the answer. The exit code is 0 if the name has an IPv4 address.
    """
    import json

    from minidock.teach.packet import counters, output, probe, target
    from minidock.teach.packet.steps import Steps
    from minidock.teach.packet.walk import netns_of, walk

    store = Store()
    if flags["dns"]:
        return _dns(store, arguments, str(flags["dns"]), flags)
    start = str(flags["from"])
    if len(arguments) == 2:
        start, called = arguments
        found = target.between(store, start, called)
    else:
        found = target.resolve(store, *target.parse(arguments[0]))
    result = probe.send(store, found, start=start)
    answer = walk(result, Steps(store))
    if flags["json"]:
        counts = counters.read_now(found.pid, netns_of(answer.hops))
        print(json.dumps(output.plain(answer, counts), ensure_ascii=False))
    else:
        output.write(answer, sys.stdout)
    return 0 if answer.verdict.status != "stopped" else 1


def _dns(store: Store, arguments: tuple[str, ...], name: str, flags: dict[str, object]) -> int:
    import json

    from minidock.teach.packet import counters, dns_walk, output
    from minidock.teach.packet.walk import netns_of

    if len(arguments) != 1 or flags["from"] != "host":
        raise UsageError(
            "--dns requires exactly one container", hint="minidock packet CONTAINER --dns NAME"
        )
    answer = dns_walk.follow(store, arguments[0], name)
    if flags["json"]:
        counts = counters.read_now(answer.question.pid, netns_of(answer.hops))
        print(json.dumps(output.plain_dns(answer, counts), ensure_ascii=False))
    else:
        output.write_dns(answer, sys.stdout)
    return 0 if answer.verdict.status != "stopped" else 1
