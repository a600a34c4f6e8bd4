"""A container's files as `cp` sees them: its layers and its volumes, running or not.

A child process makes the view and works in it:

    unshare(2)   a mount namespace of its own: what is mounted here, the kernel takes away with us
    mount        the layers, where the container does not run; then volumes, binds, /etc/hosts …
    chroot(2)    "/" is the container's from here on: no path and no link leads to the host's files

/proc, /sys, /dev and what is mounted by --tmpfs are not there, as in Docker: through a /proc with
the host's processes, a link of the container's would lead out again (/proc/PID/root).

The rules for entering a container hold: nothing is imported inside, and no exception leaves the
child.

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
    populate_volumes,
)
from minidock.engine.container.own_layer import mount_own_layer
from minidock.engine.container.validation import in_container
from minidock.engine.image.images import ImageStore
from minidock.engine.store.journal import writer
from minidock.engine.store.stories import open_for_append, recording_story
from minidock.errors import MinidockError, system_error
from minidock.kernel.files import work_on_files
from minidock.kernel.mount import (
    MOUNT_ATTR_RDONLY,
    bind_mount,
    is_mount_point,
    set_mount_attributes,
    set_propagation,
)
from minidock.kernel.namespace import clone_process, unshare
from minidock.kernel.node import make_mount_point
from minidock.kernel.op import current_journal, use_journal
from minidock.kernel.overlay import mount_overlay
from minidock.kernel.path import chroot, set_umask
from minidock.runtime.channel import describe_error, rebuild_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from minidock.document_types.container import MountPoint
    from minidock.engine.container.containers import Container

_story = ""  # of this process's copies


class Inside:
    """An act in a child whose root is the container's.

    act: called inside; returns what JSON can say. close: descriptors of ours that it must not hold.
    A container that does not run is the caller's own (Ownership), so that nobody starts it.
    """

    def __init__(
        self, container: Container, act: Callable[[], Any], *, close: tuple[int, ...] = ()
    ) -> None:
        layers = ImageStore(container.store).resolve(container.document["Image"])
        lowerdirs = list(reversed(layers.layer_directories()))
        self._answer, answer = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()

        def work_inside() -> NoReturn:
            for descriptor in close:
                os.close(descriptor)
            if (outside := current_journal()) is not None:
                use_journal(outside.of_child(writer(told), actor="copy"))
            _work(container, lowerdirs, act, answer)

        with telling_copy(container):
            told = open_for_append(container.paths.copy_journal)  # chrooted, no path leads there
            self._pid = clone_process([], work_inside, cgroup_fd=None, as_sibling=False)
        for descriptor in (answer, told):
            if descriptor >= 0:
                os.close(descriptor)

    def result(self) -> Any:
        """What the act returned; raises what it raised."""
        with open(self._answer, "rb") as file:
            text = file.read()
        os.waitpid(self._pid, 0)
        if not text:
            raise MinidockError("the process that copies was killed")
        told = jsontext.loads(text)
        if "error" in told:
            raise rebuild_error(told["error"])
        return told["value"]


def telling_copy(container: Container) -> recording_story:
    """What a command copies is one story, in however many children."""
    global _story
    _story = _story or f"cp {os.urandom(6).hex()}"
    return recording_story(container.paths.copy_journal, _story)


def _work(
    container: Container, lowerdirs: list[str], act: Callable[[], Any], answer: int
) -> NoReturn:
    """The child's whole life."""
    told: dict[str, Any]
    try:
        set_umask(0)
        _enter(container, lowerdirs)
        found: list[Any] = []
        work_on_files("/", lambda: found.append(act()))
        told = {"value": found[0]}
    except MinidockError as error:
        told = {"error": describe_error(error)}
    except OSError as error:
        told = {"error": describe_error(system_error(error))}
    except BaseException as error:  # past the wall nothing may unwind: the parent reports it
        told = {"error": describe_error(MinidockError(f"copying failed: {error!r}"))}
    try:
        os.write(answer, jsontext.dumps(told).encode())
    finally:
        os._exit(0)


def _enter(container: Container, lowerdirs: list[str]) -> None:
    """Make the view, and make it the root of this process."""
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
    """What is mounted there: of a part of a volume, its place in the container's directory."""
    return str(point.get("SubpathAt") or point["Source"])


def _identity_files(container: Container) -> list[tuple[str, str]]:
    """What the start mounts on files of /etc; they are there once the container has run."""
    document = container.document
    files = (
        (document["HostsPath"], "/etc/hosts"),
        (document["HostnamePath"], "/etc/hostname"),
        (document["ResolvConfPath"], "/etc/resolv.conf"),
    )
    return [(source, target) for source, target in files if os.path.exists(source)]
