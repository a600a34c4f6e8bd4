"""Probes: real attempts at what `run` needs from the kernel, each in its own process.

A kernel's version does not determine its features: options may be compiled out, modules missing,
calls filtered by the container around this process. So each probe makes the calls of `run`, by the
same functions, without side effects: in namespaces that end with the process, in an empty directory
beside the store, in an empty cgroup.

    try_out("overlay", store)  ->  {"mount": "", "write": "", "whiteout": "", "opaque": ""}

The result has each part with "" if it works, otherwise with the kernel's error. It is empty
without root.
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
    """Run a probe; see the module's docstring."""
    if os.geteuid() != 0:
        return {}
    return in_child(lambda tried: PROBES[probe](store, tried))
