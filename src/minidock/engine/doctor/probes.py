"""Real attempts at what `run` needs from the kernel, each in a process of its own that then ends.

What a kernel's version promises and what this kernel does are two things: options may be compiled
out, modules missing, calls filtered by the container that we are in. So each probe makes the very
calls that `run` makes, by the same functions, where nobody sees it: in namespaces that end with the
process, in an empty directory beside the store, in an empty cgroup. Nothing is left.

    try_out("overlay", store)  ->  {"mount": "", "write": "", "whiteout": "", "opaque": ""}

The answer has each part with "" where it works, else with the kernel's words. It is empty where
the probe is not for us: it takes root.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from minidock.engine.doctor import cgroup_probes, kernel_probes, network_probes
from minidock.engine.doctor.child_probe import Parts, Tried, in_child
from minidock.paths import Store

_Act = Callable[[Store, Tried], None]
PROBES: dict[str, _Act] = {
    "calls": kernel_probes.calls,
    "namespaces": kernel_probes.namespaces,
    "filesystems": kernel_probes.filesystems,
    "seal": kernel_probes.seal,
    "seccomp": kernel_probes.seccomp,
    "userns": kernel_probes.userns,
    "places": kernel_probes.places,
    "overlay": kernel_probes.overlay,
    "limits": cgroup_probes.limits,
    "firewall": network_probes.firewall,
    "forwarding": network_probes.forwarding,
}


def try_out(probe: str, store: Store) -> Parts:
    """Run one probe; see the module's docstring."""
    if os.geteuid() != 0:
        return {}
    return in_child(lambda tried: PROBES[probe](store, tried))
