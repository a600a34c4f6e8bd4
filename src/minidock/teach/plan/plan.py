"""plan: all kernel operations of a run, without performing them.

    create options  ->  the container's document and config.json      the engine's own functions
                    ->  PlannedOps: the host's side, as launch does   here, cgroups.py, network.py
                    ->              init's program                    runtime/init.py, unchanged
                    ->  fewer, if the run would fail                  foresight.py

It reads the state of the machine (routes, addresses, cgroups, the firewall) and changes nothing:
meanwhile a journal is in effect that refuses every op (`refuse_ops`). A test compares a plan with
the journal of the run that follows, op by op.

Random values and the kernel's choices are slots: see planned_ops.py. The container's id is ID.
Without root, what only root may read is assumed, and `notes` says so.

Decided in docs/decisions/0017-plan-is-separate-code.md.
"""

from __future__ import annotations

import os

from minidock.engine.container.bundle import config_of
from minidock.engine.container.containers import Container
from minidock.engine.container.create import draft, resolve_network_names
from minidock.engine.container.mounts import bind_subpaths
from minidock.engine.container.name_links import holder_of
from minidock.engine.container.own_layer import has_quota, mount_quota_disk
from minidock.engine.container.user import resolve_user_by
from minidock.engine.container.validation import check_body, check_name
from minidock.engine.image.images import ImageStore
from minidock.engine.lifecycle import start
from minidock.engine.monitor import launch, main
from minidock.errors import MinidockError, NameInUse
from minidock.kernel import cgroup, cgroup_tree, device_cgroup, namespace
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
from minidock.runtime.cgroup_mount import visible_cgroups
from minidock.runtime.config_validation import check_config
from minidock.runtime.inherited import nothing_inherited
from minidock.runtime.lifecycle import cgroup_of
from minidock.runtime.program import Slot
from minidock.teach.plan import cgroups
from minidock.teach.plan.foresight import RunFails, StepResults, refused_tmpfs
from minidock.teach.plan.network import PlannedWiring
from minidock.teach.plan.planned_ops import PlannedOps
from minidock.teach.plan.rootfs import Layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from minidock.document_types.container import CreateBody
    from minidock.document_types.image import ImageConfig
    from minidock.document_types.runtime_spec import Namespace, Resources, RuntimeConfig
    from minidock.engine.image.image import Image
    from minidock.kernel.record import Begin, End
    from minidock.paths import Store
    from minidock.runtime.program import Step
    from minidock.teach.plan.planned_ops import PlannedOp

ID = "c0ffee" * 10 + "0000"


class Plan:
    """The plan of a run.

    ops: its operations. container, config: its document and config.json. layers: the image's
    directories, topmost first. program: init's. addresses: the container's. notes: assumptions.
    image_is_unknown: whether the image cannot be read. failure: the error of the run, if it would
    fail with the last of these operations; None if it starts the command.
    """

    def __init__(self, container: Container, notes: list[str]) -> None:
        self.container = container
        self.notes = notes
        self.ops = PlannedOps(self._check_op)
        self.failure: MinidockError | None = None
        self.config: RuntimeConfig = {}
        self.layers: list[str] = []
        self.addresses: list[str] = []
        self.program: list[Step] = []
        self.image_is_unknown = False
        self.wiring = PlannedWiring(self.ops, container, notes)

    @property
    def command(self) -> list[str]:
        """The command with its arguments."""
        document = self.container.document
        return [document["Path"], *document["Args"]]

    @property
    def exit_code(self) -> int:
        """The exit code of a failing run: 127 or 126 for its command, else 125; 0 for success."""
        if self.failure is None:
            return 0
        return self.failure.exit_code if self.failure.exit_code in (126, 127) else 125

    def _check_op(self, act: PlannedOp) -> None:
        try:
            refused = refused_tmpfs(act)
        except PermissionError:
            note = "assumed that the options of a tmpfs are valid: only root may ask the kernel"
            if note not in self.notes:
                self.notes.append(note)
            return
        if refused:
            raise RunFails(refused)


class refuse_ops:
    """A context in which every op is refused, except the one that lists the firewall's rules."""

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


def _refuse(record: Begin | End) -> None:
    if "op" in record and record["op"] != "iptables.save":
        raise MinidockError(
            f"a plan must not perform an operation: {record['op']}",
            hint="the monitor of a container died: `minidock ps` repairs the store",
        )


def plan_run(store: Store, body: CreateBody, *, name: str | None) -> Plan:
    """Plan a `run`. body: Docker's ContainerCreate JSON. name: of the container.

    Raises the errors that `run` raises before its first operation: NotFound, Conflict, UsageError.
    """
    notes: list[str] = []
    with refuse_ops():
        image = _image(store, body, notes)
        container = _container(store, body, image, name)
        plan = Plan(container, notes)
        plan.image_is_unknown = isinstance(image, UnknownImage)
        plan.layers = list(reversed(image.layer_directories()))
        _engine_acts(plan)
        plan.ops.actor = "monitor"
        try:
            _launch_acts(plan)
        except RunFails as end:
            plan.failure = end.error
    return plan


def _image(store: Store, body: CreateBody, notes: list[str]) -> Image | UnknownImage:
    """The image; an UnknownImage if this user may not read the store."""
    if not _may_read(store):
        notes.append(
            f"only root may read {body['Image']}: its layers, command, environment and users are "
            "unknown"
        )
        return UnknownImage(store)
    return ImageStore(store).resolve(body["Image"])


def _may_read(store: Store) -> bool:
    try:
        os.listdir(store.root)
    except PermissionError:
        return False
    except FileNotFoundError:
        pass  # the store does not exist yet
    return True


class UnknownImage:
    """An image that cannot be read: one layer, and an unknown command."""

    def __init__(self, store: Store) -> None:
        self.id = "sha256:" + "0" * 64
        self.config: ImageConfig = {"config": {"Cmd": [str(Slot("command"))]}, "rootfs": {}}
        self._layer = f"{store.layers}/{Slot('layer')}/diff"

    def layer_directories(self) -> list[str]:
        """Its one layer."""
        return [self._layer]


def _container(
    store: Store, body: CreateBody, image: Image | UnknownImage, name: str | None
) -> Container:
    """The container's document as `create` would write it, volumes included."""
    if name is not None:
        check_name(name)
        holder = holder_of(store, name)
        if holder and os.path.exists(store.container(holder).document):
            raise NameInUse(
                f'the container name "/{name}" is already in use by container "{holder}"',
                hint="choose another name",
            )
    check_body(store, body)
    if _may_read(store):
        resolve_network_names(store, body)
    document = draft(store, body, image, container_id=ID)  # type: ignore[arg-type]
    document["Name"] = f"/{name or 'planned'}"
    for number, point in enumerate(document["Mounts"]):
        if point["Type"] == "volume" and not point["Source"]:
            point["Name"] = point["Name"] or f"{number:064d}"
            point["Source"] = f"{store.volume(point['Name'])}/_data"
    return Container(store, document)


# The engine's side -------------------------------------------------------------------------------


def _engine_acts(plan: Plan) -> None:
    """As spawn_monitor: seal the interpreter (read-only), and start the monitor with it."""
    store, ops = plan.container.store, plan.ops
    sealed = f"{store.run}/sealed/bin/python3"
    real = seal.real_interpreter()
    if not _is_sealed(sealed, real):
        if os.path.exists(sealed):
            ops.add(seal.make_seal, unmount, sealed, MNT_DETACH)
        ops.add(seal.make_seal, clone_read_only, real, sealed)
    ops.add(
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
    except PermissionError:  # only root may stat the interpreter
        return os.path.exists(sealed)


def _launch_acts(plan: Plan) -> None:
    """As Monitor.run and launch: from the monitor's first operation to execve of the command."""
    ops, container, wiring = plan.ops, plan.container, plan.wiring
    files_state = cgroups.PlannedFiles()
    ops.add(main.Monitor.start_journal, kernel_process.set_not_dumpable)
    home = cgroup_tree.home_of(container.store.cgroup_parent)
    cgroups.planned(ops, home, cgroup.MONITORS, files_state).adopt_caller()
    wiring.hold_ports()
    plan.addresses = wiring.reserve()
    _add_layer_mounts(plan)
    plan.config = _config(plan)
    group = cgroups.planned(ops, *cgroup_of(plan.config, container.id), files_state)
    group.create()
    asked: Resources | None = plan.config["linux"].get("resources")
    group.apply(device_cgroup.with_runtime_rules(asked or {}))
    _create_init(plan, group)
    wiring.connect()
    ops.actor = "init"
    ops.perform(plan.program[_start_of(plan.program) :], _lookups(plan))


def _add_layer_mounts(plan: Plan) -> None:
    """As launch.mount_layers."""
    ops, container = plan.ops, plan.container
    paths = container.paths
    upper, work = paths.upper, paths.work
    if has_quota(container):
        ops.add(mount_quota_disk, mount_disk_file, paths.disk, paths.space, "ext4", "discard")
        upper, work = f"{paths.space}/upper", f"{paths.space}/work"
    _add_subpath_binds(plan)
    ops.add(launch.mount_layers, mount_overlay, plan.layers, upper, work, paths.merged)
    if container.host_config.get("IpcMode") == "shareable":
        size = container.host_config.get("ShmSize") or DEFAULT_SHM_BYTES
        ops.add(
            launch.keep_shared_memory, mount_filesystem, "shm", paths.home, "/shm", "tmpfs",
            flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, data=f"mode=1777,size={size}",
        )  # fmt: skip


def _add_subpath_binds(plan: Plan) -> None:
    """As mounts.bind_subpaths."""
    ops, place = plan.ops, plan.container.paths.mounts
    for number, point in enumerate(plan.container.document["Mounts"]):
        if point.get("Subpath"):
            source, at = f"/proc/self/fd/{Slot('subpath')}", f"/{number}"
            ops.add(bind_subpaths, make_mount_point, place, at, like=source)
            ops.add(bind_subpaths, bind_mount, source, place, at, recursive=True)
            point["SubpathAt"] = f"{place}{at}"


def _config(plan: Plan) -> RuntimeConfig:
    """The bundle's config.json, with the user from the image's /etc/passwd."""
    container, layers = plan.container, Layers(plan.layers)
    groups = container.host_config.get("GroupAdd") or []
    user, home = resolve_user_by(layers.open, container.config["User"], groups)
    config = config_of(container, user, home)
    check_config(config)
    return config


# The container's side ----------------------------------------------------------------------------


def _create_init(plan: Plan, group: cgroups.PlannedV1 | cgroups.PlannedV2) -> None:
    """As create_init: clone3, and init's steps until the monitor connects its network."""
    ops, config = plan.ops, plan.config
    ops.add(clone.create_init, make_fifo, plan.container.paths.start_fifo)
    joined = {ns["type"]: Slot("namespace") for ns in config["linux"]["namespaces"] if _path(ns)}
    into_pid = joined.pop("pid", None)
    paths = {ns["type"]: ns.get("path", "") for ns in config["linux"]["namespaces"]}
    fresh = [kind for kind in init.new_namespace_kinds(config) if kind != "cgroup"]
    if into_pid is not None:
        ops.add(clone.clone_init, namespace.setns, into_pid, ["pid"], place=paths["pid"])
    ops.add(
        clone.clone_init, namespace.clone_process, fresh, "become_init",
        cgroup_fd=Slot("cgroup") if group.cloned_into_cgroup else None, as_sibling=False,
    )  # fmt: skip
    if into_pid is not None:
        ops.add(clone.clone_init, namespace.setns, Slot("home"), ["pid"], place="")
    context = init.InitContext(
        rootfs=plan.container.paths.merged,
        rootfs_mount=plan.container.paths.merged,
        join_cgroup=group.join,
        cgroups=visible_cgroups(group.group, config),
        joined=joined,  # type: ignore[arg-type]
        filter_program=_filter(config),
        channel=_NoChannel(),  # type: ignore[arg-type]
        start_fifo=Slot("fifo"),  # type: ignore[arg-type]
        inherited=nothing_inherited(plan.container.id),
    )
    plan.program = init.init_program(config, context)
    ops.actor = "init"
    if not plan.container.config.get("Tty"):
        ops.add(init.run_init, take_streams, [Slot("pipe")] * 3)
    kept = [Slot("channel"), Slot("fifo"), *joined.values()]
    ops.add(init.run_init, kernel_process.close_all_but, kept)
    before = plan.program[: _start_of(plan.program)]
    at = next(n for n, step in enumerate(before) if step.act == group.join)
    ops.perform(before[:at], found := _lookups(plan))
    group.join()
    ops.perform(before[at + 1 :], found)
    ops.actor = "monitor"


def _path(namespace_entry: Namespace) -> bool:
    return bool(namespace_entry.get("path"))


def _start_of(program: list[Step]) -> int:
    """The index in init's program of the step that waits for the start."""
    return next(n for n, step in enumerate(program) if step.act is init.wait_for_start)


class _NoChannel:
    """In the place of the socket between init and the monitor."""

    def send_ready(self) -> None:
        """Init is ready; the monitor connects the network."""

    def send_console(self) -> None:
        """The terminal's master goes out."""

    def await_hooks(self) -> None:
        """The monitor runs hooks."""


def _filter(config: RuntimeConfig) -> bytes | None:
    """The compiled seccomp filter, as in the store's cache."""
    profile = config["linux"].get("seccomp")
    if not profile:
        return None
    from minidock.kernel import seccomp, seccomp_filter

    seccomp.check(profile)
    return bytes(4) + seccomp_filter.assemble(profile)


def _lookups(plan: Plan) -> StepResults:
    """The results of init's steps that are not ops."""
    return StepResults(
        plan.config, Layers(plan.layers), plan.notes, is_unknown=plan.image_is_unknown
    )
