"""Changes by operations on layers, mounts, the root, masks and devices."""

from __future__ import annotations

import os
import re

from minidock.teach.look.thing import OFF, ON, READY, TOUCHED, Change, Making, always, is_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.look.thing import Effect

_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}")
_READ_ONLY = 1  # MOUNT_ATTR_RDONLY: linux/mount.h


def _overlay(entry: JournalEntry, making: Making) -> list[Change]:
    """The image's layers from the topmost down, and the container's own layer above them."""
    lower = [_layer_name(path) for path in entry.record["args"].get("lowerdirs", [])]
    making.layers = [*lower, "upper"]
    changes = [Change("layer", name, ON, f"{len(lower) - at}") for at, name in enumerate(lower)]
    upper = [Change("layer", "upper")] if entry.record["args"].get("upperdir") else []
    return [*changes, *upper, *(Change("image layer", name) for name in lower)]


def _layer_name(path: str) -> str:
    folder = os.path.basename(os.path.dirname(path)) or path
    return folder[:12]


def _mount(entry: JournalEntry, making: Making) -> list[Change]:
    args = entry.record["args"]
    kind = "mask" if "masks" in entry.record["isolation"] else "mount"
    source = args.get("fstype") or args.get("source") or ""
    return [Change(kind, str(args["target"]), ON, _ID.sub(r"\1…", str(source)))]


def _attributes(entry: JournalEntry, making: Making) -> list[Change]:
    args = entry.record["args"]
    note = "ro" if int(args.get("attributes", 0)) & _READ_ONLY else ""
    kind = "mask" if "masks" in entry.record["isolation"] else "mount"
    return [Change(kind, str(args["target"]), ON, note)]


def _mount_point(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("mount", str(entry.record["args"]["target"]), READY)]


def _propagation(entry: JournalEntry, making: Making) -> list[Change]:
    target = str(entry.record["args"]["target"])
    if target == "/..":
        return [Change("old root", "host's /", TOUCHED)]
    return [Change("mount", target if "root" in entry.record["args"] else "/", TOUCHED)]


def _unmount(entry: JournalEntry, making: Making) -> list[Change]:
    """init's unmount of "." after pivot_root is that of the host's tree."""
    target = str(entry.record["args"]["target"])
    if is_inside(entry) and target == ".":
        return [Change("old root", "host's /", OFF)]
    if target.endswith("/merged"):
        return [Change("layer", name, OFF) for name in making.layers]
    return [Change("mount", target, OFF)]


def _pivot_root(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("root", "/", ON, "pivot_root(2)"), Change("old root", "host's /", READY)]


def _chroot(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("root", "/", ON, "chroot(2)")]


def _directory(entry: JournalEntry, making: Making) -> list[Change]:
    return [
        Change("process setting", "directory", ON, _ID.sub(r"\1…", entry.record["args"]["path"]))
    ]


def _mask(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("mask", str(entry.record["args"]["path"]), ON, "hidden")]


def _device(entry: JournalEntry, making: Making) -> list[Change]:
    args = entry.record["args"]
    return [Change("device", str(args["path"]), ON, str(args.get("target", "")))]


def _owner(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("device", str(entry.record["args"]["path"]), TOUCHED)]


def _work(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("files", str(next(iter(entry.record["args"].values()), "")), ON)]


def _disk(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("files", "--storage-opt size=", ON, str(entry.record["args"].get("fstype", "")))]


EFFECTS: dict[str, Effect] = {
    "tmpcopyup.copy_up": lambda entry, _: [
        Change("mount", str(entry.record["args"]["target"]), TOUCHED)
    ],
    "device_cgroup.attach_program": always("device rule", "eBPF program"),
    "device_cgroup.detach_program": always("device rule", "eBPF program", OFF),
    "device_cgroup.load_program": always("device rule", "eBPF program", READY),
    "files.work_on_files": _work,
    "loop.mount_disk_file": _disk,
    "mount.bind_mount": _mount,
    "mount.bind_to_itself": _mount,
    "mount.mask_path": _mask,
    "mount.mount_filesystem": _mount,
    "mount.pivot_root": _pivot_root,
    "mount.propagate_in_root": _propagation,
    "mount.set_mount_attributes": _attributes,
    "mount.set_propagation": _propagation,
    "mount.unmount": _unmount,
    "node.change_owner": _owner,
    "node.make_device": _device,
    "node.make_link": _device,
    "node.make_mount_point": _mount_point,
    "overlay.mount_overlay": _overlay,
    "overlay.open_overlay": _overlay,
    "path.chroot": _chroot,
    "path.enter_directory": _directory,
}
