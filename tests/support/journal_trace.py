"""strace of minidock by the acts of its journals: what each act called, and what lay outside.

A process writes a record before an act and after it, and strace sees these writes too. So what a
process called between the two belongs to that act, without a look at any clock:

    write(5<…/journal.jsonl>, "{\"id\":\"9f3c.2.41\",\"begin\":41,…)      the act begins
    mount(…)                                                            its call
    write(5<…/journal.jsonl>, "{\"id\":\"9f3c.2.41\",\"end\":41,…)        the act is over

A process counts as minidock's until it executes something else than a Python of minidock.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from support.command import command_line, environment

CALLS = """
mount umount2 mount_setattr open_tree move_mount fsopen fsconfig fsmount pivot_root chroot
unshare setns clone3 sethostname setdomainname setsid chdir fchdir umask dup2 dup3
setresuid setresgid setreuid setregid setuid setgid setgroups capset prctl seccomp prlimit64
setrlimit clone fork
mknod mknodat chown lchown fchown fchownat chmod fchmod fchmodat keyctl bpf bind
pidfd_send_signal close_range
""".split()
_UNFINISHED = re.compile(r",? *<unfinished \.\.\.>$")  # another process's line comes first
_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_RECORD = re.compile(
    r'write\(\d+<.*?>, "J?\{\\"id\\":\\"(?P<id>[0-9a-f.]+)\\",\\"(?P<kind>begin|end)'
)
_STATE_FILE = re.compile(r'write\(\d+<(?P<path>/sys/fs/cgroup/[^>]*|/proc/[^>]*)>, "')
_READS = re.compile(
    r"prlimit64\(\d+, \w+, NULL|prctl\(PR_(GET|CAPBSET_READ|CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET)|"
    r"bind\(\d+<.*?>, \{sa_family=AF_UNIX|bpf\(BPF_(PROG_QUERY|PROG_GET|OBJ_GET)|"
    r"keyctl\(KEYCTL_GET|.*= -1 ENOSYS"
)


@dataclass
class Act:
    """What one act called. id: of its records. pid: of its process, as the host numbers it.

    cut: its process was killed before it had written the act's end.
    """

    id: str
    pid: int
    calls: list[str] = field(default_factory=list)
    cut: bool = False


@dataclass
class Trace:
    """acts: by their ids. outside: calls that lie in no act, as (pid, text)."""

    acts: dict[str, Act] = field(default_factory=dict)
    outside: list[tuple[int, str]] = field(default_factory=list)


def start(
    strace: str, output: Path, root: str, *arguments: str, **popen: object
) -> subprocess.Popen[bytes]:
    """Run `minidock ARGUMENTS` with all its children under strace."""
    traced = f"trace={','.join([*CALLS, 'write', 'sendto', 'execve'])}"
    options = ["-f", "-y", "-s", "96", "-e", traced, "-e", "signal=none"]
    command = [strace, *options, "-o", str(output), *command_line(), *arguments]
    return subprocess.Popen(command, env=environment(root), **popen)  # type: ignore[call-overload,no-any-return]


def read(*outputs: Path) -> Trace:
    """What minidock's own processes called, each call in its act."""
    trace = Trace()
    for output in outputs:
        foreign: set[int] = set()
        current: dict[int, Act] = {}
        for line in output.read_text(errors="replace").splitlines():
            match = _LINE.match(line)
            assert match, line
            pid, rest = int(match["pid"]), _UNFINISHED.sub(")", match["rest"])
            if rest.startswith("+++ killed") and pid in current:
                current.pop(pid).cut = True
                continue
            if rest.startswith(("<...", "+++", "---")) or pid in foreign:
                continue
            if rest.startswith("execve("):
                if "python" not in rest.partition('"')[2].partition('"')[0]:
                    foreign.add(pid)
            elif record := _RECORD.match(rest):
                name = record["id"]
                if record["kind"] == "begin" and name not in trace.acts:
                    current[pid] = trace.acts[name] = Act(name, pid)
                elif record["kind"] == "end" and pid in current and current[pid].id == name:
                    del current[pid]  # and what was relayed for another is written once more
            elif kind := kind_of(rest):
                if pid in current:
                    current[pid].calls.append(kind)
                else:
                    trace.outside.append((pid, rest))
    return trace


def kind_of(rest: str) -> str:
    """What a line of strace is: the call's name, or "" for what changes nothing."""
    name = rest.partition("(")[0]
    if _READS.match(rest):
        return ""
    if name == "write":
        written = _STATE_FILE.match(rest)
        return "" if not written else "write " + written["path"].split("/")[1]
    if name == "sendto":  # only who wants a change asks for an answer by this flag
        return "netlink" if "nlmsg_type=" in rest and "NLM_F_ACK" in rest else ""
    if (name == "clone3" and "CLONE_VFORK" in rest) or name in ("clone", "fork"):
        return "spawn"
    if name == "clone3" and "CLONE_THREAD" in rest:
        return ""  # no new process
    return name if name in CALLS else ""
