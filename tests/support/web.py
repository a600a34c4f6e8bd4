"""A container that uses all that its monitor does, and a look whether the monitor does it."""

from __future__ import annotations

import select
import socket
import time

from minidock.engine.container import lookup
from minidock.paths import Store
from support.command import Minidock
from support.patience import patience
from support.ports import free_port

SERVER = "touch /probes; i=0; while echo $((i=i+1)); do sleep 0.1; done & httpd -f -p 8080 -h /etc"
AT_ONCE = 5.0  # what a command may take, of which none is to wait for what is frozen


class Web:
    """A container that logs, serves on a port, asks for names, and has a health check."""

    def __init__(self, minidock: Minidock, store: Store) -> None:
        self.minidock = minidock
        self.port = free_port()
        minidock.ok("network", "create", "lan")
        minidock.ok("network", "create", "wan")
        minidock.ok(
            "run", "-d", "--name", "web", "--network", "lan", "-p", f"[::]:{self.port}:8080",
            "--health-cmd", "echo >> /probes", "--health-interval", "1s", "busybox", "sh", "-c",
            SERVER,
        )  # fmt: skip
        self.container = lookup.find(store, "web")

    def serves(self, *, probes: bool = True) -> None:
        """All that its monitor does beside: log, published port, names, exec, health checks."""
        last = self._last_line()
        follow = self.minidock.start("logs", "-f", "--tail", "0", "web", stdin=None, stderr=None)
        assert "web" in self._exec("nslookup", "web")
        # By ::1 the monitor's proxy carries it, where the firewall's rules carry 127.0.0.1.
        with socket.create_connection(("::1", self.port), timeout=patience(AT_ONCE)) as connection:
            connection.sendall(b"GET /passwd HTTP/1.0\r\n\r\n")
            assert connection.recv(12).startswith(b"HTTP/1")
        deadline = time.monotonic() + patience(AT_ONCE)
        assert follow.stdout is not None
        assert select.select([follow.stdout], [], [], patience(AT_ONCE))[0]
        follow.terminate()
        follow.communicate()
        while self._last_line() == last:
            assert time.monotonic() < deadline
        if probes:
            self.awaits_probe(until=deadline)

    def awaits_probe(self, until: float | None = None) -> None:
        """Until its health check has run once more."""
        deadline = until or time.monotonic() + patience(AT_ONCE)
        before = self._exec("wc", "-l", "/probes")
        while self._exec("wc", "-l", "/probes") == before:
            assert time.monotonic() < deadline

    def _exec(self, *command: str) -> str:
        return self.minidock.ok("exec", "web", *command, timeout_seconds=AT_ONCE)

    def _last_line(self) -> str:
        return self.minidock.ok("logs", "--tail", "1", "web", timeout_seconds=AT_ONCE)
