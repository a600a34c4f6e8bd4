"""Questions about processes, their namespaces, and what root may do inside."""

from __future__ import annotations

import os
import signal

from minidock.teach.lab.quiz.kernel import inode, status, text_of
from minidock.teach.lab.quiz.question import Answer, Prompt, last_question, question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.lab.quiz.question import Steps
    from minidock.teach.lab.quiz.scene import Scene

_MONITOR = "the container's monitor"
_HOSTS_INIT = "PID 1 of the host"
_INIT = "PID 1 of the container"


def _named(scene: Scene, pid: int) -> str:
    """Who a process is, in the words of an option."""
    known = {scene.monitor: _MONITOR, 1: _HOSTS_INIT, scene.pid: _INIT, os.getpid(): "this quiz"}
    return known.get(pid, f"process {pid}")


@question
def pid_1(scene: Scene) -> Steps:
    yield Prompt(
        "The container was started with  sh -c 'sleep 100000 & exec httpd -f -h /etc'.  "
        "Which program is its PID 1?",
        "sh", "sleep", "httpd", "minidock",
    )  # fmt: skip
    yield Answer(
        text_of(f"/proc/{scene.pid}/comm").strip(),
        why="exec replaces the program of a process and keeps the process: sh became httpd.",
        command=f"minidock exec {scene.name} ps",
    )


@question
def pid_on_the_host(scene: Scene) -> Steps:
    yield Prompt(
        "Inside, httpd is PID 1. Which pid has the same process on the host?",
        *sorted({"1", str(scene.pid), str(scene.monitor), str(os.getpid())}, key=int),
        hint="ps -eo pid,ppid,args",
    )
    yield Answer(
        str(scene.pid),
        why="A process has a pid in its own PID namespace and one in each above it.",
        command=f"grep NSpid /proc/{scene.pid}/status",
    )


@question
def parent(scene: Scene) -> Steps:
    yield Prompt(
        "Whose child is the container's PID 1, as the host sees it?",
        _HOSTS_INIT, _MONITOR, "this quiz", "nobody's",
    )  # fmt: skip
    yield Answer(
        _named(scene, int(status(scene.pid, "PPid"))),
        why="The monitor is its parent, stores its output, and waits for it; commands exit.",
        command=f"ps -o pid,args -p $(ps -o ppid= -p {scene.pid})",
    )


@question
def parent_inside(scene: Scene) -> Steps:
    yield Prompt("And inside the container: which number is PPid in /proc/1/status?")
    result = scene.exec("awk", "/^PPid/ { print $2 }", "/proc/1/status")
    yield Answer(
        result.output,
        why="Its parent is outside of its PID namespace; such a parent is shown as 0.",
        command=f"minidock exec {scene.name} grep PPid /proc/1/status",
    )


@question
def orphan(scene: Scene) -> Steps:
    yield Prompt(
        "exec starts  sh -c 'sleep 4711 &'  in the container, and that sh ends at once. "
        "Whose child is the sleep then?",
        _HOSTS_INIT, _INIT, _MONITOR, "nobody's",
    )  # fmt: skip
    scene.exec("sh", "-c", "sleep 4711 </dev/null >/dev/null 2>&1 &")
    owner = int(status(scene.process("sleep 4711"), "PPid"))
    yield Answer(
        _named(scene, owner),
        why="PID 1 of the PID namespace adopts orphans, and should reap them when they end, as the "
        "init of `run --init` does.",
        command=f"minidock exec {scene.name} ps -o pid,ppid,args",
    )


@question
def kill_1(scene: Scene) -> Steps:
    yield Prompt(
        "minidock exec NAME kill -9 1: root in the container sends SIGKILL to PID 1. What happens?",
        "the container ends", "nothing", "kill: Operation not permitted", "it is started again",
    )  # fmt: skip
    before = scene.pid
    result = scene.exec("kill", "-9", "1")
    alive = scene.container.running and scene.pid == before
    yield Answer(
        ("nothing" if result.code == 0 else result.output) if alive else "the container ends",
        why="From its own namespace PID 1 gets only the signals that it has a handler for, and "
        "SIGKILL can have none. From the host it is killed like any other process.",
        command=f"minidock exec {scene.name} kill -9 1; minidock ps",
    )


@question
def outside_the_cgroup(scene: Scene) -> Steps:
    known = {scene.pid: "httpd", scene.process("sleep 100000"): "sleep", scene.monitor: _MONITOR}
    yield Prompt(
        "Which of these is not in the container's cgroup?", *known.values(), "all three are in it"
    )
    inside = scene.pids()
    outside = [name for pid, name in known.items() if pid not in inside]
    yield Answer(
        ", ".join(outside) or "all three are in it",
        why="Children of init start in its cgroup. The monitor is outside, so that the "
        "container's limits do not affect it.",
        command=f"cat /proc/{scene.pid}/cgroup /proc/{scene.monitor}/cgroup",
    )


@question
def namespace_of_the_host(scene: Scene) -> Steps:
    kinds = ("mnt", "net", "user", "uts")
    yield Prompt(
        "Which namespace does the container share with the host?",
        *kinds,
        hint="minidock ns",
    )
    common = [kind for kind in kinds if inode(scene.pid, kind) == inode("self", kind)]
    yield Answer(
        ", ".join(common),
        why="Root inside is root of the host, with fewer capabilities. A user namespace would "
        "map it to another user of the host.",
        command=f"ls -l /proc/self/ns/user /proc/{scene.pid}/ns/user",
    )


@question
def inode_of_the_network(scene: Scene) -> Steps:
    found = inode(scene.pid, "net")
    others = (inode("self", "net"), inode(scene.pid, "uts"), inode(scene.pid, "mnt"))
    yield Prompt(
        "By which inode does the kernel know the container's network namespace?",
        *(str(number) for number in sorted({found, *others})),
        hint=f"minidock ns, or ls -l /proc/{scene.pid}/ns",
    )
    yield Answer(
        str(inode(scene.pid, "net")),
        why="A namespace has no name: processes with the same number are in the same one.",
        command=f"readlink /proc/{scene.pid}/ns/net",
    )


@question
def namespace_of_exec(scene: Scene) -> Steps:
    yield Prompt(
        "minidock exec NAME readlink /proc/self/ns/net: whose network namespace is the new "
        "process in?",
        "the host's", "that of PID 1 of the container", "a new one",
    )  # fmt: skip
    number = int(scene.exec("readlink", "/proc/self/ns/net").output.strip("net:[]"))
    known = {
        inode("self", "net"): "the host's",
        inode(scene.pid, "net"): "that of PID 1 of the container",
    }
    yield Answer(
        known.get(number, "a new one"),
        why="exec creates no namespaces: it joins the container's, by setns(2).",
        command=f"minidock exec {scene.name} readlink /proc/self/ns/net",
    )


@question
def host_name(scene: Scene) -> Steps:
    yield Prompt(
        "What does `hostname` say inside?",
        os.uname().nodename, scene.container.id[:12], scene.name, "localhost",
    )  # fmt: skip
    yield Answer(
        scene.exec("hostname").output,
        why="It has its own UTS namespace; its host name is the first twelve digits of its id.",
        command=f"minidock exec {scene.name} hostname",
    )


@last_question
def zombie(scene: Scene) -> Steps:
    yield Prompt(
        "Another container has  sleep 1000  as its PID 1. A background process in it has lost its "
        "parent, and now ends. What happens to its entry in the process table?",
        "it is removed at once", "it stays, as a zombie",
    )  # fmt: skip
    scene.make(scene.second, "exec sleep 1000")
    scene.exec("sh", "-c", "sleep 815 </dev/null >/dev/null 2>&1 &", name=scene.second)
    child = scene.process("sleep 815", name=scene.second)
    os.kill(child, signal.SIGKILL)
    scene.wait_until_exited(child)
    scene.exec("true", name=scene.second)  # an init that waits has done so by then
    yield Answer(
        "it stays, as a zombie" if os.path.exists(f"/proc/{child}") else "it is removed at once",
        why="PID 1 is its parent now, and must wait for it (waitpid). sleep does not; with "
        "`run --init`, PID 1 is an init that does.",
        command=f"minidock exec {scene.second} ps -o pid,stat,args",
    )
