"""Questions about a container's restrictions: capabilities, seccomp, limits."""

from __future__ import annotations

from minidock.teach.lab.quiz.kernel import cgroup_directory, mount_under, status, text_of
from minidock.teach.lab.quiz.question import Answer, Prompt, question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.lab.quiz.question import Steps
    from minidock.teach.lab.quiz.scene import Scene

_REFUSED = "it is refused"
_FILTERS = {"0": "0: none", "1": "1: strict", "2": "2: a filter"}


@question
def capabilities(scene: Scene) -> Steps:
    yield Prompt("The kernel has about 41 capabilities. How many does root in the container have?")
    yield Answer(
        str(int(status(scene.pid, "CapEff"), 16).bit_count()),
        why="Docker's default. CAP_SYS_ADMIN, which mount(2) needs, is not among them.",
        command=f"grep CapEff /proc/{scene.pid}/status",
    )


@question
def root_is(scene: Scene) -> Steps:
    yield Prompt(
        "`id` in the container says uid=0. Which uid does the process have on the host?",
        "0", "1000", "65534", "100000",
    )  # fmt: skip
    yield Answer(
        status(scene.pid, "Uid").split()[0],
        why="Without a user namespace there is one root. The other restrictions confine it.",
        command=f"grep Uid /proc/{scene.pid}/status",
    )


@question
def filter_of_calls(scene: Scene) -> Steps:
    yield Prompt("What is the value of Seccomp: in /proc/PID/status of PID 1?", *_FILTERS.values())
    yield Answer(
        _FILTERS[status(scene.pid, "Seccomp")],
        why="A program that the kernel runs at each system call; strict mode would leave only "
        "read, write, exit and sigreturn.",
        command=f"grep Seccomp: /proc/{scene.pid}/status",
    )


@question
def mount_inside(scene: Scene) -> Steps:
    yield Prompt(
        "Root in the container:  mount -t tmpfs none /tmp",
        _REFUSED, "it is mounted, in the container only", "it is mounted, and the host sees it",
    )  # fmt: skip
    result = scene.exec("mount", "-t", "tmpfs", "none", "/tmp")
    mounted = mount_under(scene.pid, "/tmp")[0] == "/tmp"
    yield Answer(
        _REFUSED if result.code and not mounted else "it is mounted, in the container only",
        why="mount(2) needs CAP_SYS_ADMIN, and seccomp refuses the call before that check.",
        command=f"minidock exec {scene.name} mount -t tmpfs none /tmp",
    )


@question
def change_of_name(scene: Scene) -> Steps:
    changed, too = "its own name is changed", "the host's name is changed, too"
    yield Prompt("Root in the container:  hostname other", changed, too, _REFUSED)
    host = text_of("/proc/sys/kernel/hostname")
    result = scene.exec("hostname", "other")
    came_through = changed if text_of("/proc/sys/kernel/hostname") == host else too
    yield Answer(
        _REFUSED if result.code else came_through,
        why="The UTS namespace is its own, but sethostname(2) also needs CAP_SYS_ADMIN.",
        command=f"minidock exec {scene.name} hostname other",
    )


@question
def memory_limit(scene: Scene) -> Steps:
    yield Prompt("It was created with -m 32m. Which number is the limit in the kernel?")
    directory = cgroup_directory(scene.pid, "memory")
    for name in ("memory.max", "memory.limit_in_bytes"):  # cgroup v2, cgroup v1
        try:
            found = text_of(f"{directory}/{name}").strip()
        except FileNotFoundError:
            continue
        yield Answer(
            found,
            why="Bytes, and m is 1024 * 1024. The page cache of its files counts, too.",
            command=f"cat {directory}/{name}",
        )
        return


@question
def cgroup_inside(scene: Scene) -> Steps:
    lines = text_of(f"/proc/{scene.pid}/cgroup").splitlines()
    yield Prompt(
        "Its cgroup has a path on the host. Which path is in /proc/self/cgroup inside?",
        "/", lines[-1].split(":", 2)[2], "none: the file is empty",
    )  # fmt: skip
    result = scene.exec("cat", "/proc/self/cgroup")
    paths = {line.split(":", 2)[2] for line in result.output.splitlines()}
    yield Answer(
        " ".join(sorted(paths)) or "none: the file is empty",
        why="A cgroup namespace: its own cgroup is the root of what it sees.",
        command=f"minidock exec {scene.name} cat /proc/self/cgroup; cat /proc/{scene.pid}/cgroup",
    )
