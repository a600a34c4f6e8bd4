"""Reaching the tests' own servers from a daemon that has a network namespace of its own.

A daemon is told "127.0.0.1:PORT/image", and the registry of that port is a test's, in the machine's
network. In the daemon's namespace iptables sends such connections here; and as a socket stays in
the namespace in which it was made, this process listens over there and connects over here.

    python -m support.loopback FD      in the daemon's namespace; FD: the machine's

Only ports from the kernel's range are passed on, which servers get that ask for any: what listens
in the namespace itself, as a container on the host's network, has a lower one.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading

from minidock.kernel import namespace

PORT = 999
_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h
_LINGER_NOT = struct.pack("ii", 1, 0)  # closing resets the connection, as one that was refused


def serve(machine: int) -> None:
    """Listen here, go to the machine's network namespace, and pass on whatever comes."""
    listener = socket.create_server(("127.0.0.1", PORT), backlog=64)
    words = "-t nat -A OUTPUT -d 127.0.0.0/8 -p tcp --dport 32768:65535 -j REDIRECT --to-ports"
    subprocess.run(["iptables", "--wait", *words.split(), str(PORT)], check=True)
    namespace.setns(machine, ["network"], place="the machine")
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_pass_on, args=(client,), daemon=True).start()


def _pass_on(client: socket.socket) -> None:
    packed = client.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
    try:
        server = socket.create_connection(("127.0.0.1", int.from_bytes(packed[2:4], "big")))
    except OSError:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        client.close()
        return
    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
    back.start()
    _copy(client, server)
    back.join()
    client.close()
    server.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the end; an end of one side is passed on, and a break ends both."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already


if __name__ == "__main__":
    serve(int(sys.argv[1]))
