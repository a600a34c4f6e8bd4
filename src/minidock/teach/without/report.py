"""The texts of --without: a warning before the container is created, and a report of the leaks.

The findings of the probes (probes.py, witness.py) arrive as JSON lines among the journal's records.
They become sentences, each under the isolation that it concerns.
"""

from __future__ import annotations

from minidock import jsontext
from minidock.teach.without.isolations import ISOLATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from minidock.teach.without.finding import Finding

VIEW = "minidock.teach.without.witness"
_MARK = '{"view":"without"'


def _list(words: list[str], most: int = 4) -> str:
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _processes(found: Finding) -> str:
    many = "1 process" if found["count"] == 1 else f"{found['count']} processes"
    return f"you can see {many} of the host, e.g. {_list(found['examples'])}"


def _device(found: Finding) -> str:
    if "bytes" in found:
        return f"you can read {found['device']}, a disk of the host: got {found['bytes']} bytes"
    return f"you can open any device: for {found['device']} the kernel looked ({found['errno']})"


# probe -> the isolation that it tests, and the sentence for a leak
LEAKS: dict[str, tuple[str, Callable[[Finding], str]]] = {
    "see processes": ("pid", _processes),
    "signal processes": (
        "pid",
        lambda f: f"you can send signals to them: kill(2) reached process {f['pid']}",
    ),
    "mounts on the host": (
        "mount",
        lambda f: (
            f"{_counted(f['count'], 'mount')} of the container are in the host's list, "
            f"e.g. {_list(['…' + e[e.rfind('/merged/') :] for e in f['examples']])}"
        ),
    ),
    "walk through proc": (
        "mount",
        lambda f: f"{f['path']} leads to the host's /: {_list(f['names'])}",
    ),
    "see interfaces": (
        "net",
        lambda f: f"you can see the host's network interfaces: {_list(f['names'])}",
    ),
    "reach loopback": (
        "net",
        lambda f: f"a server that listens only on the host's 127.0.0.1:{f['port']} answered",
    ),
    "reach abstract socket": (
        "net",
        lambda f: (
            f"the host's abstract Unix socket {f['name']} answered: no file permissions protect it"
        ),
    ),
    "read hostname": ("uts", lambda f: f"your hostname is the host's: {f['name']}"),
    "change hostname": (
        "uts",
        lambda f: f"hostname changed on the host: {f['name']} was {f['on_the_host']} for a moment",
    ),
    "see shared segments": (
        "ipc",
        lambda f: (
            f"you can see the host's shared memory: {_counted(f['count'], 'segment')} "
            "in /proc/sysvipc/shm"
        ),
    ),
    "see shared memory": (
        "ipc",
        lambda f: f"/dev/shm is the host's{': ' + _list(f['names']) if f['names'] else ''}",
    ),
    "read cgroup": ("cgroup", lambda f: f"your cgroup shows its path on the host: {f['path']}"),
    "climb out": (
        "pivot_root",
        lambda f: f'a second chroot(2) and ".." escape to the host\'s /: {_list(f["names"])}',
    ),
    "read filter": ("seccomp", lambda f: "no system call is filtered"),
    "ask for keys": (
        "seccomp",
        lambda f: "keyctl(2) reaches the kernel's keyrings, which have no namespace",
    ),
    "read capabilities": (
        "capabilities",
        lambda f: f"you have {f['count']} capabilities beyond Docker's 14: {_list(f['names'])}",
    ),
    "make namespace": (
        "capabilities",
        lambda f: "unshare(2) creates a mount namespace, in which you can mount",
    ),
    "see masked paths": ("masks", lambda f: f"you can read {_list(f['paths'])}"),
    "open settings": (
        "masks",
        lambda f: f"you can write global kernel settings: {_list(f['paths'])}",
    ),
    "open device": ("devices", _device),
}


def warning(isolations: list[str]) -> str:
    """The warning before such a container is created."""
    lines = [
        f"minidock: warning: this container is made without {_list(isolations, len(ISOLATIONS))}"
    ]
    for name in isolations:
        docker = f" (docker run {ISOLATIONS[name].flag})" if ISOLATIONS[name].flag else ""
        lines.append(f"  {name}: {ISOLATIONS[name].lost}{docker}")
    return "\n".join(lines) + "\n"


class Report:
    """Collects findings, and prints the report after the last one.

    forward: gets all other lines, the journal's. as_json: print the findings as they arrive.
    """

    def __init__(
        self,
        isolations: list[str],
        out: TextIO,
        *,
        as_json: bool,
        forward: Callable[[str], None] | None,
    ) -> None:
        self._isolations = isolations
        self._out = out
        self._as_json = as_json
        self._pass_on = forward
        self._found: list[Finding] = []

    def on_record(self, line: str) -> None:
        """Handle one line from the monitor."""
        if not line.replace(" ", "").startswith(_MARK):
            if self._pass_on is not None:
                self._pass_on(line)
        elif self._as_json:
            self._out.write(line.rstrip("\n") + "\n")
        else:
            found = jsontext.loads(line)
            if "end" not in found:
                self._found.append(found)
            else:
                self._out.write(report_text(self._isolations, self._found))
        self._out.flush()


def report_text(isolations: list[str], findings: list[Finding]) -> str:
    """The report by isolation: first those left out, then further leaks.

    An isolation holds if it was tested and nothing leaked.
    """
    leaks: dict[str, list[str]] = {}
    for found in findings:
        isolation, sentence = LEAKS[found["probe"]]
        if found["leaked"]:
            leaks.setdefault(isolation, []).append(sentence(found))
    lines = [f"what {len(findings)} probes inside found, before the command began:"]
    for isolation in isolations:
        lines += [
            f"  without {isolation}: {sentence}" for sentence in leaks.pop(isolation, [])
        ] or [
            f"  without {isolation}: nothing leaked; another isolation still prevents it, "
            "such as the user or a missing capability"
        ]
    for isolation, sentences in leaks.items():
        lines += [f"  so {isolation} leaks too: {sentence}" for sentence in sentences]
    broken = {*isolations, *leaks}
    standing = [isolation for isolation in _held(findings) if isolation not in broken]
    lines.append(f"  still isolated: {', '.join(standing) or 'nothing'}")
    return "\n".join(lines) + "\n"


def _held(findings: list[Finding]) -> list[str]:
    """The isolations that stood an attempt, in the order of ISOLATIONS; others may have failed."""
    tried = [found for found in findings if found.get("attempted", True)]
    held = {LEAKS[found["probe"]][0] for found in tried if not found["leaked"]}
    return [isolation for isolation in ISOLATIONS if isolation in held]
