"""The history of one path: its layer, the versions that it hides, and what happened to it.

    stack.py looks up the path  ->  PathHistory: versions, and sentences about them

`where CONTAINER:PATH` prints it, and `layers --watch` for each path that changes.

The upperdir shows what a container did to a file of its image:

    a file with trusted.overlay.origin      was copied up: at its first write, chmod or rename
    a file without it, over an image's file was created in its place
    a whiteout, an opaque directory         the image's was deleted; deleted and created again

The origin is the file handle of the lower file (fs/overlayfs/overlayfs.h, struct ovl_fb), which
begins with its inode number: it distinguishes a renamed copy from a new file.
"""

from __future__ import annotations

import os
import shlex
import stat

from minidock.errors import NotFound
from minidock.teach.layers.layer import METACOPY, ORIGIN, Version
from minidock.teach.layers.stack import Stack
from minidock.teach.page import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.engine.image.upper_walk import Entry
    from minidock.teach.layers.layer import Layer
    from minidock.teach.layers.stack import Lookup

_COMPARE_BYTES = 1 << 18
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
}
# struct ovl_fb: version, magic, len, flags, type, uuid[16], then the file handle.
_FB_TYPE, _FB_HANDLE = 4, 21
_INO32 = (1, 2)  # FILEID_INO32_GEN of ext4 and others; with the parent's
_INO64 = (0x81, 0x82, 0x4D, 0x4E, 0x4F)  # XFS, and Btrfs, whose handle begins with the inode too


class PathHistory:
    """The history of one path.

    event: "image", "added", "copied up", "renamed", "replaced", "linked", "deleted", "opaque",
    "merged" or "absent". sentences: the explanation, most important first.
    """

    def __init__(self, name: str, path: str, found: Lookup) -> None:
        self.name = name
        self.path = path
        self.found = found
        self.event = ""
        self.sentences: list[str] = []

    def plain(self) -> dict[str, object]:
        """The history as a JSON object."""
        return {
            "name": self.name,
            "path": self.path,
            "resolved": "/" + os.fsdecode(self.found.path),
            "event": self.event,
            "sentences": self.sentences,
            "exists": bool(self.found.visible),
            "versions": [_plain_version(version) for version in self.found.versions],
        }

    def tell(self, event: str, sentence: str) -> None:
        """Set the event and add a sentence."""
        self.event = event
        self.sentences.append(sentence)


def history_of(name: str, layers: Sequence[Layer], path: str) -> PathHistory:
    """Look up a path in layers, topmost first, and explain it.

    name: of the container or image. Raises NotFound if no layer has the path.
    """
    if not layers:
        raise NotFound(f"{name} has no layers, so it has no {path}")
    with Stack(layers) as stack:
        found = stack.look_up(os.fsencode(path))
        history = PathHistory(name, path, found)
        if not found.versions:
            raise NotFound(f"no layer of {name} has {path}")
        for link, pointed in found.links:
            history.sentences.append(f"/{os.fsdecode(link)} is a link to {os.fsdecode(pointed)}.")
        if found.visible:
            _describe_visible(history, stack)
        else:
            _describe_hidden(history)
        if stat.S_ISLNK(_mode(found)):
            top = found.visible[0]
            target = os.fsdecode(top.layer.read_link(top.entry))
            history.sentences.append(f"It points to {target}, look it up with `where`.")
    return history


def _mode(found: Lookup) -> int:
    return found.visible[0].entry.status.st_mode if found.visible else 0


def _describe_visible(history: PathHistory, stack: Stack) -> None:
    """Explain a path that exists."""
    top = history.found.visible[0]
    older = _older(stack, top)
    if not history.found.path:
        history.tell("merged", "The root directory is merged from that of every layer.")
    elif not top.layer.is_live:
        _of_image(history, top, older)
    elif top.entry.is_directory:
        _own_directory(history, top, older)
    else:
        _own_file(history, top, older, stack)


def _older(stack: Stack, top: Version) -> list[Version]:
    """The versions visible below the topmost one's layer, topmost first."""
    below = Stack([layer for layer in stack.layers if layer.number < top.layer.number])
    try:
        return below.look_up(top.path).visible if below.layers else []
    except NotFound:
        return []


def _of_image(history: PathHistory, top: Version, older: list[Version]) -> None:
    what = kind_of(top)
    if top.entry.is_directory and len(history.found.visible) > 1:
        names = _list([version.layer.name for version in history.found.visible])
        history.tell("merged", f"It is merged from the directories of {names}.")
        return
    history.tell("image", f"The {what} comes from {_titled(top.layer)}.")
    if older and not top.entry.is_directory:
        history.sentences.append(f"It replaces the {kind_of(older[0])} of {older[0].layer.name}.")


def _own_directory(history: PathHistory, top: Version, older: list[Version]) -> None:
    below = _list([version.layer.name for version in older])
    if not older:
        history.tell("added", "The container created this directory.")
    elif not older[0].entry.is_directory:
        history.tell("replaced", f"The container replaced the {kind_of(older[0])} of {below}.")
    elif top.entry.opaque:
        history.tell(
            "opaque",
            f"The container deleted the image's directory and created a new one: it is opaque and "
            f"hides that of {below} with its entries.",
        )
    else:
        history.tell(
            "merged",
            f"It is merged from upper and {below}. The directory was copied up, without its files, "
            "because one of its entries, or its mode or owner, was changed.",
        )


def _own_file(history: PathHistory, top: Version, older: list[Version], stack: Stack) -> None:
    """Explain a file in upper: copied up, renamed, or new."""
    what, upper = kind_of(top), top.layer
    origin = upper.attribute(top.path, ORIGIN)
    inode = _inode(origin or b"")
    before = older[0] if older and not older[0].entry.is_directory else None
    others = _other_names(top)
    if before is not None and origin is not None and inode in (0, older[-1].entry.status.st_ino):
        history.tell(
            "copied up", f"It was copied up from {before.layer.name}{_when(history, top)}."
        )
        history.sentences.append(_difference(top, before))
    elif origin is not None:
        _elsewhere(history, top, _source(inode, stack), others)
    elif before is not None and before.entry.status.st_nlink > 1:
        history.tell(
            "changed",
            f"The file of {before.layer.name} has several hard links, so overlayfs records no "
            "origin: it was copied up or replaced.",
        )
        history.sentences.append(_difference(top, before))
    elif older:
        history.tell(
            "replaced",
            f"The container created this {what} in the place of the {kind_of(older[0])} of "
            f"{older[0].layer.name}: nothing was copied up.",
        )
    elif any(_older(stack, Version(upper, other, "seen")) for other in others):
        history.tell("linked", f"It is a hard link: the same file as {_paths(others)}.")
    else:
        _added(history, top, stack)
    if others and history.event != "linked":
        history.sentences.append(f"It has further hard links: {_paths(others)}.")


def _added(history: PathHistory, top: Version, stack: Stack) -> None:
    """Explain a file that the image does not have under this name."""
    history.tell("added", f"The container created this {kind_of(top)}: the image has none here.")
    if before := _same_with_links(top, stack):
        history.sentences.append(
            f"Or it was /{os.fsdecode(before.path)} of {before.layer.name}, which has the same "
            "content and several hard links, so overlayfs records no origin."
        )


def _same_with_links(top: Version, stack: Stack) -> Version | None:
    """A file of the image that may be the source of a file without an origin."""
    size_bytes = top.entry.status.st_size
    if not size_bytes or not stat.S_ISREG(top.entry.status.st_mode):
        return None
    for layer in stack.layers:
        for entry in layer.walk() if not layer.is_live else ():
            status = entry.status
            if (
                status.st_nlink > 1
                and stat.S_ISREG(status.st_mode)
                and status.st_size == size_bytes
            ):
                old = Version(layer, entry, "hidden")
                if _same_content(top, old):
                    return old
    return None


def _elsewhere(
    history: PathHistory, top: Version, source: Version | None, others: list[Entry]
) -> None:
    """Explain a copy of a file with another name: renamed, or a hard link."""
    if source is not None and any(other.path == source.path for other in others):
        history.tell("linked", f"It is a hard link: the same file as {_paths(others)}.")
        history.sentences.append(f"{_copied(source)}.")
    else:
        history.tell("renamed", f"{_copied(source)}, and renamed.")


def _other_names(top: Version) -> list[Entry]:
    """The other hard links of a file in its layer."""
    status = top.entry.status
    if status.st_nlink < 2:
        return []
    return [
        entry
        for entry in top.layer.walk()
        if entry.path != top.path and entry.status.st_ino == status.st_ino
    ]


def _paths(entries: list[Entry]) -> str:
    return _list(sorted(f"/{os.fsdecode(entry.path)}" for entry in entries))


def _when(history: PathHistory, top: Version) -> str:
    if len(history.found.visible) > 1:
        return ", metadata only: the content is still read from there"
    return " as a whole, by its first change" if stat.S_ISREG(_mode(history.found)) else ""


def _difference(new: Version, old: Version) -> str:
    """The differences between a copy and its source."""
    one, other = new.entry.status, old.entry.status
    said = []
    if stat.S_ISREG(one.st_mode) and stat.S_ISREG(other.st_mode):
        same = _same_content(new, old)
        said.append("The content is the same" if same else f"The content has changed: "
                    f"{size(other.st_size)} before, {size(one.st_size)} now")  # fmt: skip
    if stat.S_IMODE(one.st_mode) != stat.S_IMODE(other.st_mode):
        modes = f"{stat.S_IMODE(other.st_mode):04o} before, {stat.S_IMODE(one.st_mode):04o} now"
        said.append(f"the mode has changed: {modes}")
    if (one.st_uid, one.st_gid) != (other.st_uid, other.st_gid):
        owners = f"{other.st_uid}:{other.st_gid} before, {one.st_uid}:{one.st_gid} now"
        said.append(f"the owner has changed: {owners}")
    return "; ".join(said)[:1].upper() + "; ".join(said)[1:] + "." if said else "It is the same."


def _same_content(new: Version, old: Version) -> bool:
    if new.layer.attribute(new.path, METACOPY) is not None:
        return True
    if new.entry.status.st_size != old.entry.status.st_size:
        return False
    with (
        open(new.layer.open_file(new.entry), "rb") as one,
        open(old.layer.open_file(old.entry), "rb") as other,
    ):
        while piece := one.read(_COMPARE_BYTES):
            if piece != other.read(_COMPARE_BYTES):
                return False
    return True


def _source(inode: int, stack: Stack) -> Version | None:
    """The lower file with an inode number, the source of a copy; inode 0: unknown."""
    for layer in stack.layers:
        for entry in layer.walk() if inode and not layer.is_live else ():
            if entry.status.st_ino == inode and not entry.is_directory:
                return Version(layer, entry, "hidden")
    return None


def _copied(source: Version | None) -> str:
    if source is None:
        return "It was copied up from a layer under another name"
    return f"It was copied up from {source.layer.name} as /{os.fsdecode(source.path)}"


def _inode(origin: bytes) -> int:
    """The inode number in an origin's file handle; 0 for an unknown handle type."""
    if len(origin) < _FB_HANDLE + 8:
        return 0
    kind, handle = origin[_FB_TYPE], origin[_FB_HANDLE:]
    if kind in _INO32:
        return int.from_bytes(handle[:4], "little")
    return int.from_bytes(handle[:8], "little") if kind in _INO64 else 0


def _describe_hidden(history: PathHistory) -> None:
    """Explain why a path does not exist although a layer has it."""
    hidden = [version for version in history.found.versions if version.role == "hidden"]
    last = history.found.versions[0]
    if last.role == "whiteout" and last.hidden_by is None:
        who = "The container deleted it" if last.layer.is_live else (
            f"It was deleted in {_titled(last.layer)}")  # fmt: skip
        history.tell("deleted", f"{who}: a whiteout, a character device 0/0.")
        if hidden:
            history.sentences.append(
                f"It hides the {kind_of(hidden[0])} of {hidden[0].layer.name}."
            )
        return
    barrier = hidden[0].hidden_by if hidden else last.hidden_by
    where = f"/{os.fsdecode(barrier.path)}" if barrier is not None else "a directory above"
    layer = f" of {barrier.layer.name}" if barrier is not None else ""
    what = "opaque directory" if barrier is not None and barrier.entry.opaque else "entry"
    history.tell("absent", f"It is not visible: the {what} {where}{layer} hides it.")


def kind_of(version: Version) -> str:
    """The kind of a version, as text."""
    if version.entry.is_whiteout:
        return "whiteout"
    kind = _KINDS[stat.S_IFMT(version.entry.status.st_mode)]
    return f"opaque {kind}" if version.entry.opaque else kind


def _titled(layer: Layer) -> str:
    return f"{layer.name}, {layer.title}" if layer.title and not layer.is_live else layer.name


def _list(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if names[1:] else "".join(names)


def command_for(version: Version) -> str:
    """The shell command that shows a version on the host."""
    if version.layer.disk:
        request = f'stat "/upper/{os.fsdecode(version.path)}"'
        return shlex.join(["debugfs", "-R", request, version.layer.disk])
    return shlex.join(["ls", "-ld", version.host_path])


def _plain_version(version: Version) -> dict[str, object]:
    barrier = version.hidden_by
    return {
        "layer": version.layer.number,
        "name": version.layer.name,
        "role": version.role,
        "kind": kind_of(version),
        "size": version.entry.status.st_size,
        "place": version.host_path,
        "command": command_for(version),
        "hidden_by": barrier and {"layer": barrier.layer.number, "path": os.fsdecode(barrier.path)},
    }
