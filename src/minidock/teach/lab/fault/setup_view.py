"""One look at the set-up: its current names, and a way to run commands in its containers.

Commands run by nsenter(1), with the container's own programs, outside its limits and capabilities.
"""

from __future__ import annotations

import subprocess

from minidock.teach.lab.failure import slowness
from minidock.teach.lab.fault.shop import Shop

_COMMAND_SECONDS = 30.0


class Broken(Exception):
    """A promise is broken; the text says what was seen."""


class View:
    """The set-up at one moment.

    names: of its parts (Shop.variables). slowness: of this machine. wait: timeout of an answer, in
    seconds.
    """

    def __init__(self, shop: Shop, seconds: float) -> None:
        self.shop = shop
        self.names = shop.variables()
        self.slowness = slowness()
        self.wait = seconds * self.slowness

    def pid(self, name: str) -> str:
        """The pid of a container's first process. Raises Broken if it does not run."""
        word = name.removeprefix("lab-").upper()
        found = self.names.get(f"{word}_PID", "0")
        if found == "0":
            state = self.names.get(f"{word}_STATE", "it does not exist")
            raise Broken(f"{name} does not run: {state}")
        return found

    def inside(self, name: str, *command: str, user: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, outside its limits and capabilities."""
        pid = self.pid(name)
        enter = ["nsenter", "-t", pid, "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        enter += [f"-S{user}", f"-G{user}"] if user else []
        try:
            done = subprocess.run(
                [*enter, *command],
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COMMAND_SECONDS * self.slowness,
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"{command[0]} in {name} does not end") from None
        if done.returncode and done.stderr.startswith(f"nsenter: cannot open /proc/{pid}/"):
            raise Broken(f"{name} does not run")  # any more: it has just ended
        return done

    def says(self, name: str, *command: str, user: int = 0) -> str:
        """Run a command in a container; returns its output. Raises Broken if it fails."""
        done = self.inside(name, *command, user=user)
        if done.returncode:
            why = last_line(done.stderr) or f"{command[0]} ended with {done.returncode}"
            raise Broken(f"in {name}: {why}")
        return done.stdout

    def page(self, name: str, url: str) -> None:
        """Get a page of a URL in a container. Raises Broken."""
        # wget's own timeout does not cover name resolution, which may ask a remote server.
        done = self.inside(
            name, "timeout", "-s", "KILL", f"{self.wait:.2f}", "wget", "-q", "-O", "-", url
        )
        if done.returncode:
            why = last_line(done.stderr) or f"no answer within {self.wait:.1f} s"
            raise Broken(f"wget {url} in {name}: {why.removeprefix('wget: ')}")
        text = done.stdout
        if not text.startswith("lab shop"):
            raise Broken(f"{url} is answered by something else: {text[:40]!r}")


def last_line(text: str) -> str:
    """The last line of a program's output."""
    return text.strip().rpartition("\n")[2]
