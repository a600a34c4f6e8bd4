"""plan: all that a run would ask of the kernel, known without asking it for anything.

    what was asked  ->  the container's document and config.json      the engine's own functions
                    ->  Acts: the host's side, in launch's order      here, cgroups.py, network.py
                    ->        init's program                          runtime/init.py, as it is
                    ->  or less, where the run would fail             foresight.py

It looks at the machine (routes, addresses, cgroups, the firewall) and changes nothing: while it
works, a journal is in force that refuses every op (`refusing`). That what it says is true, a test
tells: it is, op by op, the journal of the run that follows it.

What a run decides at random, or the kernel chooses, is a slot: see planned_ops.py. The container's
id is ID. Without root, what only root may read is supposed, and `notes` says so.

Decided in docs/decisions/0017-a-plan-of-the-host-side.md.
"""

from __future__ import annotations

import os

from minidock.engine.container import quota
from minidock.engine.container.bundle import config_of
from minidock.engine.container.containers import Container
from minidock.engine.container.create import draft, name_networks
from minidock.engine.container.identity import resolve_user_by
from minidock.engine.container.mounts import reach_subpaths
from minidock.engine.container.name_links import holder_of
from minidock.engine.container.validation import check_body, check_name
from minidock.engine.image.images import ImageStore
from minidock.engine.lifecycle import start
from minidock.engine.monitor import launch, main
from minidock.errors import Conflict, MinidockError
from minidock.kernel import cgroup, cgroup_tree, device, namespace
from minidock.kernel import process as kernel_process
from minidock.kernel.loop import mount_disk_file
from minidock.kernel.mount import (
    MNT_DETACH,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    bind_mount,
    clone_read_only,
    mount_filesystem,
    unmount,
)
from minidock.kernel.node import make_fifo, make_mount_point
from minidock.kernel.op import Journal, use_journal
from minidock.kernel.overlay import mount_overlay
from minidock.kernel.streams import take_streams
from minidock.oci.runtime_config import DEFAULT_SHM_BYTES
from minidock.runtime import clone, init, seal
from minidock.runtime.config import check_config, hierarchies_to_show
from minidock.runtime.lifecycle import cgroup_of
from minidock.runtime.program import Slot
from minidock.teach.plan import cgroups
from minidock.teach.plan.foresight import Ends, Found, refused_tmpfs
from minidock.teach.plan.network import PlannedWiring
from minidock.teach.plan.planned_ops import Acts
from minidock.teach.plan.rootfs import Layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from minidock.engine.image.image import Image
    from minidock.paths import Store
    from minidock.runtime.program import Step
    from minidock.teach.plan.planned_ops import Act

ID = "c0ffee" * 10 + "0000"


class Plan:
    """A run that has not taken place.

    acts: what it would do. container, config: its document and config.json. layers: the image's
    directories, topmost first. program: init's. addresses: the container's. notes: what had to be
    supposed. supposed: whether the image could not be looked at. failure: what the run would say,
    where it would end with the last of these acts; None where it starts the command.
    """

    def __init__(self, container: Container, notes: list[str]) -> None:
        self.container = container
        self.notes = notes
        self.acts = Acts(self._foresee)
        self.failure: MinidockError | None = None
        self.config: dict[str, Any] = {}
        self.layers: list[str] = []
        self.addresses: list[str] = []
        self.program: list[Step] = []
        self.supposed = False
        self.wiring = PlannedWiring(self.acts, container, notes)

    @property
    def command(self) -> list[str]:
        """What would be executed."""
        document = self.container.document
        return [document["Path"], *document["Args"]]

    @property
    def exit_code(self) -> int:
        """The run's, where it would fail: 127 or 126 for its command, 125 for all else; 0."""
        if self.failure is None:
            return 0
        return self.failure.exit_code if self.failure.exit_code in (126, 127) else 125

    def _foresee(self, act: Act) -> None:
        try:
            refused = refused_tmpfs(act)
        except PermissionError:
            note = "the options of a tmpfs are supposed to be right: root may ask the kernel"
            if note not in self.notes:
                self.notes.append(note)
            return
        if refused:
            raise Ends(refused)


class refusing:
    """A block in which no op is performed, but the one that lists the firewall's rules."""

    def __enter__(self) -> None:
        journal = Journal(lambda record: None, actor="plan")
        journal.gate = _refuse
        use_journal(journal)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        use_journal(None)


def _refuse(record: dict[str, Any]) -> None:
    if "begin" in record and record["op"] != "iptables.save":
        raise MinidockError(
            f"a plan would have to do something: {record['op']}",
            hint="a container of this store has lost its monitor: `minidock ps` repairs that",
        )


def plan(store: Store, body: dict[str, Any], *, name: str | None) -> Plan:
    """What `run` would do. body: Docker's ContainerCreate JSON. name: of the container.

    Raises what `run` would raise before it does anything: NotFound, Conflict, UsageError.
    """
    notes: list[str] = []
    with refusing():
        image = _image(store, body, notes)
        container = _container(store, body, image, name)
        made = Plan(container, notes)
        made.supposed = isinstance(image, Supposed)
        made.layers = list(reversed(image.layer_directories()))
        _engine_acts(made)
        made.acts.actor = "monitor"
        try:
            _launch_acts(made)
        except Ends as end:
            made.failure = end.error
    return made


def _image(store: Store, body: dict[str, Any], notes: list[str]) -> Image | Supposed:
    """The image; for who may not read the store, one of which nothing is known."""
    if not _may_read(store):
        notes.append(
            f"{body['Image']} is root's to read: its layers, its command, its environment and its "
            "users are not looked at"
        )
        return Supposed(store)
    return ImageStore(store).resolve(body["Image"])


def _may_read(store: Store) -> bool:
    try:
        os.listdir(store.root)
    except PermissionError:
        return False
    except FileNotFoundError:
        pass  # a store that is still to be made
    return True


class Supposed:
    """An image that cannot be read: one layer, and a command that is not known."""

    def __init__(self, store: Store) -> None:
        self.id = "sha256:" + "0" * 64
        self.config: dict[str, Any] = {"config": {"Cmd": [str(Slot("command"))]}}
        self._layer = f"{store.layers}/{Slot('layer')}/diff"

    def layer_directories(self) -> list[str]:
        """Its one layer."""
        return [self._layer]


def _container(
    store: Store, body: dict[str, Any], image: Image | Supposed, name: str | None
) -> Container:
    """The container's document as `create` would write it, volumes included."""
    if name is not None:
        check_name(name)
        holder = holder_of(store, name)
        if holder and os.path.exists(store.container(holder).document):
            raise Conflict(
                f'the container name "/{name}" is already in use by container "{holder}"',
                hint="choose another name",
            )
    check_body(store, body)
    if _may_read(store):
        name_networks(store, body)
    document = draft(store, body, image, container_id=ID)  # type: ignore[arg-type]
    document["Name"] = f"/{name or 'planned'}"
    for number, point in enumerate(document["Mounts"]):
        if point["Type"] == "volume" and not point["Source"]:
            point["Name"] = point["Name"] or f"{number:064d}"
            point["Source"] = f"{store.volume(point['Name'])}/_data"
    return Container(store, document)


# The engine's side -------------------------------------------------------------------------------


def _engine_acts(made: Plan) -> None:
    """As spawn_monitor: an interpreter that nobody can write to, and the monitor out of it."""
    store, acts = made.container.store, made.acts
    sealed = f"{store.run}/sealed/bin/python3"
    real = seal.real_interpreter()
    if not _is_sealed(sealed, real):
        if os.path.exists(sealed):
            acts.add(seal.make_seal, unmount, sealed, MNT_DETACH)
        acts.add(seal.make_seal, clone_read_only, real, sealed)
    acts.add(
        start.spawn_monitor,
        kernel_process.spawn,
        sealed,
        seal.command(sealed, "minidock.engine.monitor.main"),
        start.monitor_environment(store),
        control=Slot("control"),
    )


def _is_sealed(sealed: str, real: str) -> bool:
    try:
        return seal.is_seal_of(sealed, real)
    except PermissionError:  # an interpreter that only root may look at
        return os.path.exists(sealed)


def _launch_acts(made: Plan) -> None:
    """As Monitor.run and launch: from the monitor's first act to the command's."""
    acts, container, wiring = made.acts, made.container, made.wiring
    world = cgroups.World()
    acts.add(main.Monitor.start_journal, kernel_process.set_not_dumpable)
    home = cgroup_tree.home_of(container.store.cgroup_parent)
    cgroups.planned(acts, home, cgroup.MONITORS, world).adopt_caller()
    wiring.hold_ports()
    made.addresses = wiring.reserve()
    _mount_layers(made)
    made.config = _config(made)
    group = cgroups.planned(acts, *cgroup_of(made.config, container.id), world)
    group.create()
    group.apply(device.with_runtime_rules(made.config["linux"].get("resources") or {}))
    _create_init(made, group)
    wiring.connect()
    acts.actor = "init"
    acts.perform(made.program[_start_of(made.program) :], _found(made))


def _mount_layers(made: Plan) -> None:
    """As launch.mount_layers."""
    acts, container = made.acts, made.container
    paths = container.paths
    upper, work = paths.upper, paths.work
    if quota.has_space(container):
        acts.add(quota.mount_space, mount_disk_file, paths.disk, paths.space, "ext4", "discard")
        upper, work = f"{paths.space}/upper", f"{paths.space}/work"
    _reach_subpaths(made)
    acts.add(launch.mount_layers, mount_overlay, made.layers, upper, work, paths.merged)
    if container.host_config.get("IpcMode") == "shareable":
        size = container.host_config.get("ShmSize") or DEFAULT_SHM_BYTES
        acts.add(
            launch.keep_shared_memory, mount_filesystem, "shm", paths.home, "/shm", "tmpfs",
            flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, data=f"mode=1777,size={size}",
        )  # fmt: skip


def _reach_subpaths(made: Plan) -> None:
    """As mounts.reach_subpaths."""
    acts, place = made.acts, made.container.paths.mounts
    for number, point in enumerate(made.container.document["Mounts"]):
        if point.get("Subpath"):
            source, at = f"/proc/self/fd/{Slot('subpath')}", f"/{number}"
            acts.add(reach_subpaths, make_mount_point, place, at, like=source)
            acts.add(reach_subpaths, bind_mount, source, place, at, recursive=True)
            point["SubpathAt"] = f"{place}{at}"


def _config(made: Plan) -> dict[str, Any]:
    """The bundle's config.json, with the user as the image's files have it."""
    container, layers = made.container, Layers(made.layers)
    groups = container.host_config.get("GroupAdd") or []
    user, home = resolve_user_by(layers.open, container.config["User"], groups)
    config = config_of(container, user, home)
    check_config(config)
    return config


# The container's side ----------------------------------------------------------------------------


def _create_init(made: Plan, group: cgroups.V1 | cgroups.V2) -> None:
    """As create_init: clone3, and what init does until its network may be connected."""
    acts, config = made.acts, made.config
    acts.add(clone.create_init, make_fifo, made.container.paths.start_fifo)
    joined = {ns["type"]: Slot("namespace") for ns in config["linux"]["namespaces"] if _path(ns)}
    into_pid = joined.pop("pid", None)
    paths = {ns["type"]: ns.get("path", "") for ns in config["linux"]["namespaces"]}
    born = [kind for kind in init.new_namespace_kinds(config) if kind != "cgroup"]
    if into_pid is not None:
        acts.add(clone.clone_init, namespace.setns, into_pid, ["pid"], place=paths["pid"])
    acts.add(
        clone.clone_init, namespace.clone_process, born, "become_init",
        cgroup_fd=Slot("cgroup") if group.born_inside else None, as_sibling=False,
    )  # fmt: skip
    if into_pid is not None:
        acts.add(clone.clone_init, namespace.setns, Slot("home"), ["pid"], place="")
    context = init.InitContext(
        rootfs=made.container.paths.merged,
        rootfs_mount=made.container.paths.merged,
        join_cgroup=group.join,
        hierarchies=hierarchies_to_show(group.group),
        joined=joined,  # type: ignore[arg-type]
        filter_program=_filter(config),
        channel=_NoChannel(),  # type: ignore[arg-type]
        start_fifo=Slot("fifo"),  # type: ignore[arg-type]
        keyring=f"_ses.{made.container.id}",
    )
    made.program = init.init_program(config, context)
    acts.actor = "init"
    if not made.container.config.get("Tty"):
        acts.add(init.run_init, take_streams, [Slot("pipe")] * 3)
    kept = [Slot("channel"), Slot("fifo"), *joined.values()]
    acts.add(init.run_init, kernel_process.close_all_but, kept)
    before = made.program[: _start_of(made.program)]
    at = next(n for n, step in enumerate(before) if step.act == group.join)
    acts.perform(before[:at], found := _found(made))
    group.join()
    acts.perform(before[at + 1 :], found)
    acts.actor = "monitor"


def _path(namespace_entry: dict[str, Any]) -> bool:
    return bool(namespace_entry.get("path"))


def _start_of(program: list[Step]) -> int:
    """Where in its program init waits: what it did before, the journal has by then."""
    return next(n for n, step in enumerate(program) if step.act is init.wait_for_start)


class _NoChannel:
    """Stands for the socket between init and the monitor, by which no op goes."""

    def send_ready(self) -> None:
        """Init is ready; the monitor connects the network."""

    def send_console(self) -> None:
        """The terminal's master goes out."""

    def await_hooks(self) -> None:
        """The monitor runs hooks."""


def _filter(config: dict[str, Any]) -> bytes | None:
    """The compiled seccomp filter, as the store would keep it."""
    profile = config["linux"].get("seccomp")
    if not profile:
        return None
    from minidock.kernel import seccomp, seccomp_filter

    seccomp.check(profile)
    return bytes(4) + seccomp_filter.assemble(profile)


def _found(made: Plan) -> Found:
    """What the steps of init that are no ops would find."""
    return Found(made.config, Layers(made.layers), made.notes, is_supposed=made.supposed)
