"""The box and the world: out under the host's address, in by published ports."""

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
    """Hold each port of the host: a rule reserves nothing, so two boxes would get the same one."""
    if box.publish and not box.network:
        raise OSError("--publish needs --network too")
    # Who is ended by SIGTERM tidies up nothing; who exits comes by after().
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for host_port, _ in box.publish:
        holder = socket.socket()
        try:
            holder.bind(("", host_port))  # without listen(): nobody is answered from here
        except OSError as error:
            raise OSError(f"port {host_port} of this host: {error.strerror}") from None
        box.held.append(holder)


def beside(box):
    """Let the host forward packets, and write the rules of this box into its firewall."""
    if not box.network:
        return
    setting("net/ipv4/ip_forward", 1)
    setting(f"net/ipv4/conf/{box.network}/route_localnet", 1)
    rules = list(rules_of(box))
    change("-I", rules)
    box.rules = rules


def after(box):
    """Take the same rules away again."""
    change("-D", box.rules)


def rules_of(box):
    """Every rule that this box needs: (table, chain, what and where to).

    They stand first in their chains (-I), before those of a dockerd or a firewall that drop.
    """
    bridge, address, subnet = box.network, box.ip.ip, box.ip.network
    local = "-m addrtype --dst-type LOCAL"  # to an address of this host: not what goes through it
    dnat = "-m conntrack --ctstate DNAT"  # what came by a published port

    # Out. The world has no way back to the box's address, so it sees the host's.
    yield "nat", "POSTROUTING", f"-s {address} ! -o {bridge} -j MASQUERADE"
    yield "filter", "FORWARD", f"-s {address} -i {bridge} -j ACCEPT"

    # In. Others' packets pass PREROUTING, those of this host's own programs OUTPUT.
    for host_port, port in box.publish:
        for chain in ("PREROUTING", "OUTPUT"):
            target = f"-j DNAT --to-destination {address}:{port}"
            yield "nat", chain, f"-p tcp --dport {host_port} {local} {target}"
    answers = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT"
    yield "filter", "FORWARD", f"-d {address} -o {bridge} {answers} -j ACCEPT"

    # To 127.0.0.1 comes from 127.0.0.1, which in the box is the box: it would answer itself.
    yield "nat", "POSTROUTING", f"-s 127.0.0.0/8 -d {address} -o {bridge} -j MASQUERADE"
    # A neighbour on the bridge would be answered directly, by an address that it never called.
    yield "nat", "POSTROUTING", f"-s {subnet} -d {address} -o {bridge} {dnat} -j MASQUERADE"

    # Nobody else calls the box by its own address, with ports that it did not publish.
    yield "raw", "PREROUTING", f"-d {address} ! -i {bridge} -j DROP"
    # route_localnet would let a box knock at what listens on the host's loopback only.
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
