"""The box and other hosts: out by NAT, in by published ports."""

import signal
import socket
import sys
from argparse import ArgumentTypeError

from network import run


def options(parser):
    parser.add_argument(
        "--publish", type=pair, action="append", metavar="HOSTPORT:PORT", default=[]
    )
    parser.set_defaults(held=[], rules=[])


def pair(text):
    """Two ports as numbers: the host's, and the box's."""
    numbers = [int(word) for word in text.split(":") if word.isdecimal()]
    if len(numbers) == 2 and all(0 < number < 65536 for number in numbers):
        return numbers
    raise ArgumentTypeError(f"{text!r} is not HOSTPORT:PORT, two numbers from 1 to 65535")


def before(box):
    """Bind each host port: a rule does not reserve it, so two boxes could publish the same one."""
    if box.publish and not box.network:
        raise OSError("--publish needs --network too")
    # SIGTERM would end this process at once; an exit calls after().
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for host_port, _ in box.publish:
        holder = socket.socket()
        try:
            holder.bind(("", host_port))  # without listen(): it accepts no connections
        except OSError as error:
            raise OSError(f"port {host_port} of this host: {error.strerror}") from None
        box.held.append(holder)


def beside(box):
    """Enable forwarding on the host, and add the rules of this box to its firewall."""
    if not box.network:
        return
    setting("net/ipv4/ip_forward", 1)
    setting(f"net/ipv4/conf/{box.network}/route_localnet", 1)
    rules = list(rules_of(box))
    change("-I", rules)
    box.rules = rules


def after(box):
    """Delete the same rules."""
    change("-D", box.rules)


def rules_of(box):
    """The rules of this box: (table, chain, match and target).

    They are inserted first (-I), before rules of dockerd or a firewall that drop.
    """
    bridge, address, subnet = box.network, box.ip.ip, box.ip.network
    local = "-m addrtype --dst-type LOCAL"  # to an address of this host, not forwarded
    dnat = "-m conntrack --ctstate DNAT"  # by a published port

    # Out. Other hosts have no route to the box's address, so they see the host's.
    yield "nat", "POSTROUTING", f"-s {address} ! -o {bridge} -j MASQUERADE"
    yield "filter", "FORWARD", f"-s {address} -i {bridge} -j ACCEPT"

    # In. Packets from other hosts traverse PREROUTING, those of this host's programs OUTPUT.
    for host_port, port in box.publish:
        for chain in ("PREROUTING", "OUTPUT"):
            target = f"-j DNAT --to-destination {address}:{port}"
            yield "nat", chain, f"-p tcp --dport {host_port} {local} {target}"
    answers = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT"
    yield "filter", "FORWARD", f"-d {address} -o {bridge} {answers} -j ACCEPT"

    # Packets to 127.0.0.1 come from 127.0.0.1, which in the box is the box: it would answer itself.
    yield "nat", "POSTROUTING", f"-s 127.0.0.0/8 -d {address} -o {bridge} -j MASQUERADE"
    # A neighbour on the bridge would get a direct answer, from an address that it did not contact.
    yield "nat", "POSTROUTING", f"-s {subnet} -d {address} -o {bridge} {dnat} -j MASQUERADE"

    # Other hosts must not reach the box by its own address, on ports that it did not publish.
    yield "raw", "PREROUTING", f"-d {address} ! -i {bridge} -j DROP"
    # route_localnet would let a box reach services that listen on the host's loopback only.
    yield "raw", "PREROUTING", f"-d 127.0.0.0/8 -i {bridge} -j DROP"


def change(act, rules):
    """Insert (-I) or delete (-D) these rules, each table in one step."""
    text = ""
    for table in ("raw", "nat", "filter"):
        lines = [f"{act} {chain} {rule}\n" for of, chain, rule in rules if of == table]
        text += f"*{table}\n{''.join(lines)}COMMIT\n"
    if rules:
        run("iptables-restore", "--noflush", "--wait", text=text)


def setting(name, value):
    """Change a setting of the host's kernel."""
    with open(f"/proc/sys/{name}", "w") as file:
        file.write(str(value))
