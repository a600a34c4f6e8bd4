"""`minidock look`, running: its addresses, its answers, its end."""

from __future__ import annotations

import http.client
import signal
import subprocess
from typing import Any
from urllib.parse import urlsplit

from minidock.paths import Store
from support.command import command_line, environment
from support.patience import patience


class Served:
    """`minidock look`, running; its addresses as it prints them."""

    def __init__(self, store: Store, *words: str) -> None:
        self.process = subprocess.Popen(
            [*command_line(), "look", *words], env=environment(store.root), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.address = self.next_address()
        self.port = urlsplit(self.address).port or 0

    def next_address(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()[-1]

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, str, Any]:
        """(status, body, headers) of an answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience(20))
        client.request(method, path, body, headers=headers)
        answer = client.getresponse()
        found = answer.status, answer.read().decode(), answer.headers
        client.close()
        return found

    def admitted(self) -> tuple[str, str]:
        """(directory, Set-Cookie) of a browser that opened the address."""
        split = urlsplit(self.address)
        status, _, headers = self.ask(f"{split.path}?{split.query}")
        assert status == 303
        return headers["Location"], headers["Set-Cookie"]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(patience(10))

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()
