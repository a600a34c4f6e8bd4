"""The network of the box: a namespace, a veth pair, and a bridge to attach it to. Yours to write.

host                                      |  box
BRIDGE, with the address --gateway        |
   └─ veth71  ══════ the veth pair ═══════|═ eth0, with the address --ip
                                          |  lo, 127.0.0.1
"""

import subprocess
from ipaddress import IPv4Address, IPv4Interface

FLAGS = 0  # TODO: which one?


def options(parser):
    parser.add_argument("--network", metavar="BRIDGE", help="attach the box to this bridge")
    parser.add_argument("--ip", type=IPv4Interface, metavar="ADDRESS/LENGTH", help="of the box")
    parser.add_argument("--gateway", type=IPv4Address, metavar="ADDRESS", help="of the bridge")


def before(box):
    """Make sure that the bridge exists: the first box creates it, the others find it."""
    # TODO: only with --network. The bridge needs an address, and has to be up.


def beside(box):
    """Create the veth pair: one end on the bridge, the other in the child's namespace."""
    # TODO: the child waits in its new namespace; its pid is box.pid.
    # TODO: which MAC address should eth0 have? See the README, "Who has 172.30.0.4?"


def inside(box):
    """Set up the box's end. In a new namespace all devices are down, even lo."""
    # TODO: this runs in the child, before pivot_root: `ip` is still the host's.
    raise NotImplementedError("network.inside is not written yet")


def after(box):
    """Delete the veth pair. The bridge stays: other boxes may be on it."""
    # TODO: this is also called if a step above has failed, before the veth pair was created.


def run(*words, text=""):
    """Run a command of the host, text is its stdin; raises OSError with its stderr. (Given.)"""
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
