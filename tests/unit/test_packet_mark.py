"""packet's probe is marked, and by no mark that other engines' rules act on."""

from __future__ import annotations

import pytest

from minidock.teach.packet.origin import mark_of

# mark, mask: netavark and CNI's portmap; kube-proxy's two; Tailscale's two.
OTHERS = {
    "netavark": (0x2000, 0x2000),
    "kubernetes masquerades": (0x4000, 0x4000),
    "kubernetes drops": (0x8000, 0x8000),
    "tailscale forwards": (0x40000, 0xFF0000),
    "tailscale's own": (0x80000, 0xFF0000),
}


@pytest.mark.parametrize("pid", (1, 0x2000, 0x3471, 0x8000, 0xFFFF, 4194304))
@pytest.mark.parametrize("whose", OTHERS)
def test_a_probe_is_not_taken_for_another_engine_s_packet(whose: str, pid: int) -> None:
    mark, mask = OTHERS[whose]
    assert mark_of(pid) & mask != mark


def test_two_probes_at_a_time_are_distinguished() -> None:
    assert mark_of(1000) != mark_of(1001)
