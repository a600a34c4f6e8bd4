"""Capture the packets that pass a device, with packet sockets, as tcpdump does.

A packet socket sees incoming packets before the firewall and outgoing packets after it. It stays in
the network namespace in which it was created, so one process captures on the host's bridge and on
the container's eth0. Source: packet(7).
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


class CapturedPacket(NamedTuple):
    """A packet on a device; goes_out: outgoing, else incoming."""

    packet: Packet
    goes_out: bool


class Tap:
    """A packet socket on one device of the network namespace that this process is in.

    If the device does not exist, it captures nothing.
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
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # captures nothing
        self._socket.setblocking(False)

    def close(self) -> None:
        """Stop capturing."""
        self._socket.close()

    def captured(self) -> list[CapturedPacket]:
        """The TCP and UDP packets captured since the last call, in order."""
        found: list[CapturedPacket] = []
        while True:
            try:
                data, (_, protocol, kind, *_) = self._socket.recvfrom(_ENOUGH_BYTES)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != ENETDOWN:  # a device that is down sees nothing
                    raise system_error(error) from error
                return found
            packet = parse(data) if protocol == _ETH_P_IP else None
            if packet is not None:
                found.append(CapturedPacket(packet, kind == _OUTGOING))
