"""The runtime: takes a bundle (config.json and a rootfs) through create, start, kill and delete.

    create    cgroup and limits, clone3, init raises the walls and waits       → created
    start     a byte in start.fifo: init becomes the command                   → running
    kill      a signal, by pidfd                                               → (stopped)
    delete    kill what is left in the cgroup, remove all that create made

`create` and `start` are apart so that, in between, the caller can connect the network to namespaces
that exist already, before the command could miss it.

It knows bundles, not images, and keeps nothing but <root>/<id>/. Every undo does nothing where
there is nothing to undo, so delete after a kill -9 at any moment is the same delete.

Source: OCI runtime-spec "Runtime and Lifecycle".
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.errors import Conflict, KernelError, UsageError
from minidock.kernel import namespace, process, seccomp
from minidock.kernel.cgroup import Cgroup, open_cgroup
from minidock.kernel.op import current_journal
from minidock.runtime import channel, hooks, state
from minidock.runtime.config import check_config, hierarchies_to_show
from minidock.runtime.init import Surroundings, fresh_namespaces, init_program, run_init
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Container:
    """A created container, as its creator holds it.

    pid, pidfd: its init. console: the master of its terminal, or None. channel: closed by the
    kernel when the command runs.
    """

    def __init__(
        self, known: state.State, config: dict[str, Any], ours: channel.Channel
    ) -> None:
        self.state = known
        self.config = config
        self.pid = known.pid
        self.pidfd = os.pidfd_open(known.pid)
        self.channel = ours
        self.console = ours.console

    def await_exec(self) -> None:
        """After start: wait until the command runs.

        Raises what kept init from executing it.
        """
        self.channel.receive(_journal_writer())
        self.channel.close()


def create(
    bundle: str,
    container_id: str,
    *,
    root: str,
    stdio: tuple[int, int, int] | None,
    filter_cache: str,
) -> Container:
    """Make the container of a bundle, up to the point where only its command is missing.

    bundle: directory with config.json. root: where the runtime keeps its state.
    stdio: descriptors for the command; None hands on the caller's.
    filter_cache: directory for compiled seccomp filters.
    Raises UsageError for a config that cannot be carried out, Conflict for an id in use,
    CommandNotFound and CommandNotRunnable, KernelError. On an error nothing is left.
    """
    bundle = os.path.abspath(bundle)
    config = load_config(bundle)
    with UndoOnError() as undo:
        directory = state.claim(root, container_id)
        undo.callback(_remove_directory, directory)
        group = open_cgroup(*cgroup_of(config, container_id))
        undo.callback(destroy_cgroup, group)
        group.create()
        group.apply(config["linux"].get("resources") or {})
        ours, pid = _clone_init(config, bundle, directory, group, filter_cache=filter_cache, stdio=stdio)
        undo.callback(os.waitpid, pid, 0)
        undo.callback(group.kill_all)
        undo.callback(os.kill, pid, 9)
        known = state.save(
            directory,
            {
                "id": container_id,
                "pid": pid,
                "startTime": process.start_time(pid),
                "bundle": bundle,
                "cgroup": [group.parent, group.name],
                "annotations": config.get("annotations") or {},
            },
        )
        hooks.run(config, ("prestart", "createRuntime"), known.document())
        ours.send_go()
        while ours.receive(_journal_writer()) == "console":
            pass
    return Container(known, config, ours)


def _clone_init(
    config: dict[str, Any],
    bundle: str,
    directory: str,
    group: Cgroup,
    *,
    filter_cache: str,
    stdio: tuple[int, int, int] | None,
) -> tuple[channel.Channel, int]:
    """Write init's program down, and bear the process that performs it."""
    os.mkfifo(f"{directory}/start.fifo", 0o600)
    ours, theirs = channel.pair()
    spec_filter = config["linux"].get("seccomp")
    joined = {
        ns["type"]: os.open(ns["path"], os.O_RDONLY | os.O_CLOEXEC)
        for ns in config["linux"]["namespaces"]
        if ns.get("path")
    }
    pid_namespace = joined.pop("pid", None)
    own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    cgroup_fd = group.fd_for_clone()
    fifo = os.open(f"{directory}/start.fifo", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    around = Surroundings(
        rootfs=os.path.join(bundle, config["root"]["path"]),
        join_cgroup=_Join(group, born_inside=cgroup_fd is not None),
        hierarchies=hierarchies_to_show(),
        joined=joined,
        filter_program=seccomp.compile(spec_filter, filter_cache) if spec_filter else None,
        channel=theirs,
        start_fifo=fifo,
    )
    program = init_program(config, around)

    def run_child() -> NoReturn:
        run_init(program, theirs, stdio)

    born_into = [kind for kind in fresh_namespaces(config) if kind != "cgroup"]
    if pid_namespace is not None:
        namespace.setns(pid_namespace, ["pid"])
    pid = namespace.clone_process(born_into, run_child, cgroup_fd=cgroup_fd, as_sibling=False)
    if pid_namespace is not None:
        namespace.setns(own_pid_namespace, ["pid"])
        os.close(pid_namespace)
    theirs.close()
    for descriptor in (own_pid_namespace, fifo, *joined.values()):
        os.close(descriptor)
    if cgroup_fd is not None:
        os.close(cgroup_fd)
    return ours, pid


class _Join:
    """Moves whoever calls it into a cgroup; a program prints it by that name."""

    def __init__(self, group: Cgroup, *, born_inside: bool) -> None:
        self._group = group
        self._born_inside = born_inside
        self.__name__ = "join_cgroup"

    def __call__(self) -> None:
        self._group.join(born_inside=self._born_inside)


def start(known: state.State) -> None:
    """Let a created container's command begin.

    Raises Conflict in any other state.
    """
    status = known.status
    if status != "created":
        raise Conflict(
            f"cannot start a container that is {status}",
            hint="a container is started once, after create",
        )
    fifo = os.open(f"{known.directory}/start.fifo", os.O_WRONLY | os.O_CLOEXEC)
    os.unlink(f"{known.directory}/start.fifo")
    os.write(fifo, b"s")
    os.close(fifo)


def kill(known: state.State, number: int) -> None:
    """Send a signal to the container's init.

    Raises Conflict where it has ended.
    """
    if known.status == "stopped":
        raise Conflict(f"container {known.id} is not running")
    pidfd = os.pidfd_open(known.pid)
    try:
        process.send_signal(pidfd, number, pid=known.pid)
    finally:
        os.close(pidfd)


def delete(root: str, container_id: str, *, force: bool) -> None:
    """Remove what create made: processes, cgroup, state.

    Raises NotFound, and Conflict for a container that is not stopped, unless forced.
    """
    directory = f"{root}/{container_id}"
    try:
        known = state.load(root, container_id)
    except KeyError:
        known = None
    if known is not None and known.status not in ("stopped", "created") and not force:
        raise Conflict(
            f"container {container_id} is {known.status}",
            hint="kill it first, or delete with --force",
        )
    if known is not None:
        destroy_cgroup(open_cgroup(*known.content["cgroup"]))
        config = _config_or_nothing(known.content["bundle"])
        hooks.run(config, ("poststop",), known.document())
    _remove_directory(directory)


def destroy_cgroup(group: Cgroup) -> None:
    """Kill all that lives in a cgroup, and remove it; nothing happens where it is gone."""
    group.kill_all()
    group.remove()


def load_config(bundle: str) -> dict[str, Any]:
    """A bundle's config.json, checked.

    Raises UsageError where it is missing, not JSON, or asks for what minidock cannot do.
    """
    path = f"{bundle}/config.json"
    try:
        with open(path, encoding="utf-8") as file:
            config = jsontext.loads(file.read())
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file", hint="a bundle is a directory with config.json and a rootfs"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    check_config(config)
    return config  # type: ignore[no-any-return]


def cgroup_of(config: dict[str, Any], container_id: str) -> tuple[str, str]:
    """Parent and name of the container's cgroup, from linux.cgroupsPath."""
    path = (config["linux"].get("cgroupsPath") or f"minidock-runtime/{container_id}").strip("/")
    parent, _, name = path.rpartition("/")
    return parent, name


def _config_or_nothing(bundle: str) -> dict[str, Any]:
    try:
        return load_config(bundle)
    except UsageError:
        return {}


def _journal_writer() -> Any:
    journal = current_journal()
    return None if journal is None else journal.relay


def _remove_directory(directory: str) -> None:
    for name in ("start.fifo", "state.json", "monitor.sock"):
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


__all__ = ["Container", "KernelError", "create", "delete", "kill", "load_config", "start"]
