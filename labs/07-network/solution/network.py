"""The network of the box: a namespace, a veth pair, and a bridge to attach it to.

host                                      |  box
BRIDGE, with the address --gateway        |
   └─ veth71  ══════ the veth pair ═══════|═ eth0, with the address --ip
                                          |  lo, 127.0.0.1
"""

import subprocess
from ipaddress import IPv4Address, IPv4Interface

import linux

FLAGS = linux.CLONE_NEWNET


def options(parser):
    parser.add_argument("--network", metavar="BRIDGE", help="attach the box to this bridge")
    parser.add_argument("--ip", type=IPv4Interface, metavar="ADDRESS/LENGTH", help="of the box")
    parser.add_argument("--gateway", type=IPv4Address, metavar="ADDRESS", help="of the bridge")
    parser.set_defaults(veth=None)


def before(box):
    """Make sure that the bridge exists: the first box creates it, the others find it."""
    if not box.network:
        return
    if not (box.ip and box.gateway):
        raise OSError("--network needs --ip and --gateway too")
    if not exists(box.network):
        mac = mac_of(box.gateway)  # otherwise it has the lowest one of its ports, which changes
        run("ip", "link", "add", "name", box.network, "address", mac, "type", "bridge")
    length = box.ip.network.prefixlen
    run("ip", "address", "replace", f"{box.gateway}/{length}", "dev", box.network)
    run("ip", "link", "set", "dev", box.network, "up")


def beside(box):
    """Create the veth pair: one end on the bridge, the other in the child's namespace."""
    if not box.network:
        return
    veth = f"veth{box.pid}"
    near = ["name", veth, "up", "master", box.network]
    far = ["name", "eth0", "address", mac_of(box.ip.ip), "netns", str(box.pid)]
    run("ip", "link", "add", *near, "type", "veth", "peer", *far)
    box.veth = veth  # from here on it must be deleted


def inside(box):
    """Set up the box's end. In a new namespace all devices are down, even lo."""
    run("ip", "link", "set", "dev", "lo", "up")
    if not box.network:
        return
    run("ip", "address", "add", str(box.ip), "dev", "eth0")
    run("ip", "link", "set", "dev", "eth0", "up")
    run("ip", "route", "add", "default", "via", str(box.gateway))


def after(box):
    """Delete the veth pair. The bridge stays: other boxes may be on it."""
    # The kernel deletes it with the namespace, but asynchronously: it may have done so already.
    if box.veth and exists(box.veth):
        subprocess.run(["ip", "link", "delete", "dev", box.veth], stderr=subprocess.DEVNULL)


def exists(device):
    """Whether this host has a device of that name."""
    asked = ["ip", "link", "show", "dev", device]
    return subprocess.run(asked, capture_output=True).returncode == 0


def mac_of(address):
    """Derive a MAC address from an IPv4 address (02: locally administered).

    So the neighbours' ARP entries for an earlier box with this address stay correct.
    """
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + address.packed)


def run(*words, text=""):
    """Run a command of the host, text is its stdin; raises OSError with its stderr."""
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
