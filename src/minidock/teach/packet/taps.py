"""What passes a device: packet sockets, as tcpdump has them.

A packet socket sees what goes out by a device and what comes in, before any firewall. It stays in
the network namespace that it was made in, so one process looks at the host's bridge and at the
container's eth0. Sources: packet(7).
"""

from __future__ import annotations

import socket
from errno import ENETDOWN, ENODEV
from typing import NamedTuple

from minidock.errors import system_error
from minidock.teach.packet.firewall_trace import Packet, parse

_ETH_P_ALL, _ETH_P_IP, _OUTGOING = 3, 0x0800, 4
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 4 << 20
_ENOUGH_BYTES = 128  # of each packet: the headers


class Sighting(NamedTuple):
    """A packet at a device; goes_out: by the device, else it came in by it."""

    packet: Packet
    goes_out: bool


class Tap:
    """One device, watched from now on, in the network namespace that this process is in.

    Where there is no such device, nothing is seen.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        try:
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)
            )
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.bind((device, _ETH_P_ALL))
        except OSError as error:
            if error.errno != ENODEV:
                raise system_error(error) from error
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # hears nothing
        self._socket.setblocking(False)

    def close(self) -> None:
        """Look no longer."""
        self._socket.close()

    def sightings(self) -> list[Sighting]:
        """The packets of TCP and UDP that have passed, in order."""
        found: list[Sighting] = []
        while True:
            try:
                data, (_, protocol, kind, *_) = self._socket.recvfrom(_ENOUGH_BYTES)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != ENETDOWN:  # what is switched off sees nothing
                    raise system_error(error) from error
                return found
            packet = parse(data) if protocol == _ETH_P_IP else None
            if packet is not None:
                found.append(Sighting(packet, kind == _OUTGOING))
