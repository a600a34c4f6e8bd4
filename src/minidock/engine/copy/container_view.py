"""The view of a container's files for `cp`: its layers and volumes, running or not.

A child process creates the view and works in it:

    unshare(2)   a private mount namespace: its mounts end with the process
    mount        the layers, if the container does not run; then volumes, binds, /etc/hosts …
    chroot(2)    "/" is the container's from here on: no path and no link leads to the host's files

/proc, /sys, /dev and --tmpfs mounts are missing, as in Docker: through a /proc with the host's
processes, a link of the container could lead to the host (/proc/PID/root).

As in every process that enters a container, nothing is imported after chroot, and no exception
leaves the child.

    parent ◄── answer ── child      one JSON text: {"value": …} or {"error": …}

Source: moby daemon/containerfs_linux.go (the same design); mount_namespaces(7), chroot(2).
"""

from __future__ import annotations

import os
import sys

from minidock import jsontext
from minidock.engine.container.mounts import (
    bind_subpaths,
    make_bind_sources,
    mount_volumes_privately,
)
from minidock.engine.container.own_layer import mount_own_layer
from minidock.engine.container.populate_volumes import populate_volumes
from minidock.engine.container.validation import in_container
from minidock.engine.image.images import ImageStore
from minidock.engine.store.journal import writer
from minidock.engine.store.stories import open_for_append, recording_story
from minidock.errors import MinidockError, system_error
from minidock.kernel.files import work_on_files
from minidock.kernel.mount import (
    MOUNT_ATTR_RDONLY,
    bind_mount,
    set_mount_attributes,
    set_propagation,
)
from minidock.kernel.mountinfo import is_mount_point
from minidock.kernel.namespace import clone_process, unshare
from minidock.kernel.node import make_mount_point
from minidock.kernel.op import current_journal, use_journal
from minidock.kernel.overlay import mount_overlay
from minidock.kernel.path import set_umask
from minidock.kernel.pivot_root import chroot
from minidock.runtime.channel import describe_error, rebuild_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from minidock.document_types.container import MountPoint
    from minidock.engine.container.containers import Container

_story = ""  # the story of this process's copies


class Inside:
    """A function that runs in a child whose root is the container's.

    act: called there; returns plain JSON data. close: our descriptors that the child must not keep.
    The caller owns a stopped container (Ownership), so that no other process starts it.
    """

    def __init__(
        self, container: Container, act: Callable[[], object], *, close: tuple[int, ...] = ()
    ) -> None:
        layers = ImageStore(container.store).resolve(container.document["Image"])
        lowerdirs = list(reversed(layers.layer_directories()))
        self._answer, answer = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()

        def work_inside() -> NoReturn:
            for descriptor in close:
                os.close(descriptor)
            if (outside := current_journal()) is not None:
                use_journal(outside.of_child(writer(journal), actor="copy"))
            _work(container, lowerdirs, act, answer)

        with recording_copies(container):
            journal = open_for_append(container.paths.copy_journal)  # not reachable after chroot
            self._pid = clone_process([], work_inside, cgroup_fd=None, as_sibling=False)
        for descriptor in (answer, journal):
            if descriptor >= 0:
                os.close(descriptor)

    def result(self) -> Any:
        """Return the result of the function, or raise its error."""
        with open(self._answer, "rb") as file:
            text = file.read()
        os.waitpid(self._pid, 0)
        if not text:
            raise MinidockError("the process that copies was killed")
        reply = jsontext.loads(text)
        if "error" in reply:
            raise rebuild_error(reply["error"])
        return reply["value"]


def recording_copies(container: Container) -> recording_story:
    """Record all copies of a command as one story, also from several children."""
    global _story
    _story = _story or f"cp {os.urandom(6).hex()}"
    return recording_story(container.paths.copy_journal, _story)


def _work(
    container: Container, lowerdirs: list[str], act: Callable[[], object], answer: int
) -> NoReturn:
    """Run the child."""
    reply: dict[str, object]
    try:
        set_umask(0)
        _enter(container, lowerdirs)
        found: list[object] = []
        work_on_files("/", lambda: found.append(act()))
        reply = {"value": found[0]}
    except MinidockError as error:
        reply = {"error": describe_error(error)}
    except OSError as error:
        reply = {"error": describe_error(system_error(error))}
    except BaseException as error:  # a forked child must not unwind: the parent reports it
        reply = {"error": describe_error(MinidockError(f"copying failed: {error!r}"))}
    try:
        os.write(answer, jsontext.dumps(reply).encode())
    finally:
        os._exit(0)


def _enter(container: Container, lowerdirs: list[str]) -> None:
    """Create the view, and change the root to it."""
    root = container.paths.merged
    unshare(["mount"])
    set_propagation("/", "rprivate")
    if not is_mount_point(root):
        make_bind_sources(container.document)
        mount_own_layer(container)
        mount_volumes_privately(container.store, container.document)
        bind_subpaths(container)
        mount_overlay(lowerdirs, container.paths.upper, container.paths.work, root)
        populate_volumes(container.store, container.document, root)
    points = [
        (_source(container, p), in_container(p["Destination"]), p["RW"])
        for p in container.document["Mounts"]
        if p["Type"] != "tmpfs"
    ]
    points += [(source, target, True) for source, target in _identity_files(container)]
    points.sort(key=lambda point: str(point[1]).count("/"))  # outer mount points first
    for source, target, _ in points:
        make_mount_point(root, target, like=source)
    if container.host_config.get("ReadonlyRootfs"):
        set_mount_attributes("/", root, attributes=MOUNT_ATTR_RDONLY, recursive=False)
    for source, target, writable in points:
        bind_mount(source, root, target, recursive=True)
        if not writable:
            set_mount_attributes(root, target, attributes=MOUNT_ATTR_RDONLY, recursive=True)
    chroot(root)
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()


def _source(container: Container, point: MountPoint) -> str:
    """Return the source of a mount; for a volume subpath, its directory of the container."""
    return str(point.get("SubpathAt") or point["Source"])


def _identity_files(container: Container) -> list[tuple[str, str]]:
    """List the mounts on files of /etc; they exist once the container has run."""
    document = container.document
    files = (
        (document["HostsPath"], "/etc/hosts"),
        (document["HostnamePath"], "/etc/hostname"),
        (document["ResolvConfPath"], "/etc/resolv.conf"),
    )
    return [(source, target) for source, target in files if os.path.exists(source)]
