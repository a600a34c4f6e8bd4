"""The OCI runtime: create, start, kill and delete a container from a bundle.

    create    cgroup with limits, clone3; init sets up isolation and waits     → created
    start     a byte in start.fifo: init executes the command                  → running
    kill      a signal, by pidfd                                               → (stopped)
    delete    kill the cgroup's processes, remove everything that create made

`create` and `start` are separate so that the caller can set up the network in between: the
namespaces exist, and the command does not run yet.

The runtime knows bundles (config.json and a rootfs), not images; its only state is <root>/<id>/.
Every undo is idempotent, so delete also works after a kill -9 of create at any moment.

Source: OCI runtime-spec "Runtime and Lifecycle".
"""

from __future__ import annotations

import os
import select
from errno import ENOENT, ENXIO

from minidock import jsontext
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.kernel import device_cgroup, flock, process
from minidock.kernel.cgroup import Cgroup
from minidock.kernel.cgroup_tree import home_of, open_cgroup
from minidock.kernel.op import current_journal
from minidock.runtime import channel, hooks, state
from minidock.runtime.children import reap_eventually
from minidock.runtime.clone import CreateOptions, create_init
from minidock.runtime.config_validation import check_config
from minidock.runtime.inherited import Inherited, nothing_inherited
from minidock.signals import SIGKILL
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.runtime_spec import Resources, RuntimeConfig, StateDocument


class Container:
    """A created container, for the caller of `create`.

    pid, pidfd: its init. console: the master of its terminal, or None. channel: closed by the
    kernel when the command runs.
    """

    def __init__(self, known: state.State, config: RuntimeConfig, ours: channel.Channel) -> None:
        self.state = known
        self.config = config
        self.pid = known.pid
        self.pidfd = os.pidfd_open(known.pid)
        self.channel = ours
        self.console = ours.console

    def await_exec(self) -> None:
        """After start: wait until the command runs.

        Raises init's error if it could not execute the command.
        """
        self.channel.receive(current_journal())
        self.channel.close()


def create(
    bundle: str,
    container_id: str,
    *,
    root: str,
    stdio: tuple[int, int, int] | None,
    filter_cache: str,
    config: RuntimeConfig | None = None,
    inherited: Inherited | None = None,
) -> Container:
    """Create the container of a bundle; init then waits for `start`.

    bundle: directory with config.json. root: where the runtime keeps its state.
    stdio: descriptors for the command; None passes on the caller's.
    filter_cache: directory for compiled seccomp filters. config: the result of `load_config`, if
    already read. inherited: what the command gets from the caller beside its stdio; by default,
    nothing.
    Raises UsageError for an unsupported config, Conflict for an id in use, CommandNotFound,
    CommandNotRunnable, KernelError. An error undoes everything.
    """
    bundle = os.path.realpath(bundle)
    config = config or load_config(bundle)
    inherited = inherited or nothing_inherited(container_id)
    options = CreateOptions(stdio=stdio, filter_cache=filter_cache, inherited=inherited)
    rootfs = find_rootfs(bundle, config)
    group = open_cgroup(*cgroup_of(config, container_id))
    with UndoOnError() as undo:
        directory = state.claim(root, container_id)
        undo.callback(_remove_directory, directory)
        content = _first_content(container_id, bundle, rootfs, group, config, options)
        state.save(directory, content)  # from here on, `delete` can clean up
        undo.callback(destroy_cgroup, group)
        group.create()
        asked: Resources | None = config["linux"].get("resources")
        group.apply(device_cgroup.with_runtime_rules(asked or {}))
        oci_state = state.State(directory, content).document("creating")
        ours, pid = create_init(config, oci_state, directory, group, options)
        # In reverse: kill init, kill what it has started, reap, close the channel.
        undo.callback(ours.close)
        undo.callback(reap_eventually, pid)
        undo.callback(group.kill_all)
        undo.callback(os.kill, pid, SIGKILL)
        content.update({"pid": pid, "startTime": process.start_time(pid)})
        known = state.save(directory, content)
        _finish_create(known, config, ours)
    return Container(known, config, ours)


def _first_content(
    container_id: str,
    bundle: str,
    rootfs: str,
    group: Cgroup,
    config: RuntimeConfig,
    options: CreateOptions,
) -> StateDocument:
    """The content of state.json before init exists."""
    content: StateDocument = {
        "id": container_id,
        "pid": 0,
        "bundle": bundle,
        "rootfs": rootfs,
        "created": state.now(),
        "cgroup": [group.parent, group.name],
        "annotations": config.get("annotations") or {},
    }
    options.inherited.record_in(content)
    if config.get("hooks"):
        content["hooks"] = config["hooks"]
    return content


def _finish_create(known: state.State, config: RuntimeConfig, ours: channel.Channel) -> None:
    """Let init run until it is ready for `start`; run the host's hooks when it asks."""
    ours.send_go()
    while (message := ours.receive(current_journal())) != "ready":
        if message == "hooks":
            hooks.run(config["hooks"], hooks.OF_HOST, known.document("creating"))
            ours.send_go()
        elif message == "closed":
            raise MinidockError("init ended before its container was ready")


def start(known: state.State) -> None:
    """Start the command of a created container.

    Raises Conflict in any other state, and if another process starts it at the same time;
    MinidockError if a poststart hook fails: the container is then killed.
    """
    path = f"{known.directory}/start.fifo"
    try:
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (ENOENT, ENXIO):  # no FIFO: started; no reader: init has ended
            raise
        raise _not_startable(known) from None
    try:
        flock.lock(fifo, path)
        if not os.path.exists(path):  # another `start` was faster
            raise _not_startable(known)
        os.write(fifo, b"s")  # any byte
        os.unlink(path)
        _run_poststart(known, fifo)
    finally:
        os.close(fifo)


def _run_poststart(known: state.State, fifo: int) -> None:
    """Run the poststart hooks once init's end of the FIFO is closed: the command runs."""
    asked = known.content.get("hooks") or {}
    if not hooks.has_hooks(asked, ("poststart",)):
        return
    with UndoOnError() as undo:
        undo.callback(kill, known, SIGKILL)
        poll = select.poll()
        poll.register(fifo, 0)  # poll(2) always reports POLLERR: no reader is left
        poll.poll()
        hooks.run(asked, ("poststart",), known.document("running"))


def _not_startable(known: state.State) -> Conflict:
    status = known.status
    if status == "stopped":
        return Conflict("cannot start a container that has stopped")
    return Conflict(
        "cannot start an already running container",
        hint="a container is started once, after create",
    )


def kill(known: state.State, number: int) -> None:
    """Send a signal to the container's init.

    Raises Conflict if it has exited.
    """
    if known.status in ("stopped", "creating"):
        raise Conflict("container not running", hint=f"container {known.id} is {known.status}")
    try:
        pidfd = known.open_pidfd()
    except Conflict:
        raise Conflict("container not running") from None
    try:
        process.send_signal(pidfd, number, pid=known.pid)
    finally:
        os.close(pidfd)


def kill_all(known: state.State, number: int) -> None:
    """Send a signal to every process of the container, even after its init has exited.

    The cgroup is frozen meanwhile, so that no process escapes by forking.
    """
    group = known.cgroup
    if not group.exists():
        return
    was_frozen = group.frozen()
    if not was_frozen:
        group.freeze()
    try:
        for pid in group.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # reaped meanwhile
    finally:
        if not was_frozen:
            group.thaw()


def delete(
    root: str,
    container_id: str,
    *,
    force: bool,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Remove the container: processes, cgroup, state.

    warn: called with the error of a failed poststop hook; the container is deleted all the same.
    Raises NotFound, and Conflict for a container that is not stopped, unless forced.
    """
    directory = state.directory_of(root, container_id)
    try:
        known = state.load(root, container_id)
    except NotFound:
        # Only the directory exists: create died before it wrote state.json.
        _remove_directory(directory)
        raise
    status = known.status
    if status not in ("stopped", "created") and not force:
        raise Conflict(
            f"cannot delete container {container_id} that is not stopped: {status}",
            hint="kill it first, or delete with --force",
        )
    destroy_cgroup(known.cgroup)
    _remove_directory(directory)
    try:
        hooks.run(known.content.get("hooks") or {}, ("poststop",), known.document("stopped"))
    except MinidockError as error:
        if warn is not None:
            warn(str(error))


def destroy_cgroup(group: Cgroup) -> None:
    """Kill every process in a cgroup and remove it; does nothing if it does not exist."""
    group.kill_all()
    group.remove()


def find_rootfs(bundle: str, config: RuntimeConfig) -> str:
    """The absolute path of the rootfs: a directory, not a symbolic link.

    Raises UsageError.
    """
    path = os.path.normpath(os.path.join(bundle, config["root"]["path"]))
    if not os.path.isdir(path):
        raise UsageError(f"invalid rootfs: stat {path}: no such directory")
    if os.path.islink(path):
        raise UsageError("invalid rootfs: not an absolute path, or a symlink")
    return os.path.realpath(path)


def load_config(bundle: str) -> RuntimeConfig:
    """A bundle's config.json, checked.

    Raises UsageError if it is missing, not JSON, or not supported.
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


def cgroup_of(config: RuntimeConfig, container_id: str) -> tuple[str, str]:
    """Parent and name of the container's cgroup, from linux.cgroupsPath.

    Without one it lies below our own cgroup, without a parent that could be left over.
    Raises UsageError for a systemd unit instead of a path.
    """
    path = config["linux"].get("cgroupsPath") or home_of(f"minidock-runtime-{container_id}")
    if path.count(":") == 2 and "/" not in path:
        raise UsageError(
            f"cgroupsPath {path!r} names a systemd unit, not a path",
            hint="have the caller use its cgroupfs driver or manager, as podman "
            "--cgroup-manager=cgroupfs, dockerd --exec-opt native.cgroupdriver=cgroupfs",
        )
    parent, _, name = path.strip("/").rpartition("/")
    return parent, name


def _remove_directory(directory: str) -> None:
    """Remove a container's state directory with all its files."""
    try:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    except FileNotFoundError:
        pass  # another delete was faster, or it never existed
