"""`packet`: one real packet, followed to a published port and back, or a question for a name."""

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
    """Follow one packet to a published port, or between containers, and back, or a DNS question

    Makes one TCP connection, that says nothing, or sends one empty datagram of UDP, and tells each
    hop: the rule of the firewall that did something with it, the device that it passed, the program
    that answered, and which step of `minidock explain` made them. A cause is named where a check
    proves it. Exit code 0 where the container answers, 1 where it does not.

    With --dns it asks for the addresses of a name, once, as the container's resolver would: who
    was asked, by which rules and sockets, what the answer was. Exit code 0 where there is an IPv4
    address.
    """
    import json

    from minidock.teach.packet import output, probe, target
    from minidock.teach.packet.steps import Steps
    from minidock.teach.packet.walk import walk

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
    told = walk(result, Steps(store))
    if flags["json"]:
        print(json.dumps(output.plain(told), ensure_ascii=False))
    else:
        output.write(told, sys.stdout)
    return 0 if told.verdict.status != "stopped" else 1


def _dns(store: Store, arguments: tuple[str, ...], name: str, flags: dict[str, object]) -> int:
    import json

    from minidock.teach.packet import dns_walk, output

    if len(arguments) != 1 or flags["from"] != "host":
        raise UsageError(
            "--dns asks from one container", hint="minidock packet CONTAINER --dns NAME"
        )
    told = dns_walk.follow(store, arguments[0], name)
    if flags["json"]:
        print(json.dumps(output.plain_dns(told), ensure_ascii=False))
    else:
        output.write_dns(told, sys.stdout)
    return 0 if told.verdict.status != "stopped" else 1
