"""Random changes to a stack of overlay layers, and a model that knows what must come of them.

The model is a tree of plain objects that is changed by the same acts as the mount: it knows nothing
of whiteouts, xattrs or lookups. Each node remembers in which layer it was born and last written.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NAMES = "abc"


@dataclass
class Node:
    """A file, link or directory.

    born, touched: numbers of layers. at: its path when the present layer began.
    """

    kind: str
    born: int
    touched: int
    content: str = ""
    mode: int = 0
    at: str = ""
    children: dict[str, Node] = field(default_factory=dict)

    def paths(self, above: str = "") -> dict[str, Node]:
        """All that is below it."""
        found: dict[str, Node] = {}
        for name, child in self.children.items():
            found[f"{above}/{name}"] = child
            found.update(child.paths(f"{above}/{name}"))
        return found


class Model:
    """What a container sees, act by act. moves_directories: overlayfs's redirect_dir is on."""

    def __init__(self, *, moves_directories: bool = False) -> None:
        self.root = Node("directory", 0, 0, mode=0o755)
        self.layer = 0
        self.before: dict[str, Node] = {}  # what was there when this layer began
        self._moves_directories = moves_directories

    def begin(self, layer: int) -> None:
        """From now on, what is written is in this layer."""
        self.layer = layer
        now = self.root.paths()
        for path, node in now.items():
            node.at = path
        self.before = {
            path: Node(n.kind, n.born, n.touched, n.content, n.mode) for path, n in now.items()
        }

    def find(self, path: str) -> Node | None:
        node: Node | None = self.root
        for name in path.strip("/").split("/"):
            node = node.children.get(name) if node is not None else None
        return node

    def parent(self, path: str) -> tuple[Node | None, str]:
        above, _, name = path.rpartition("/")
        found = self.find(above) if above else self.root
        return (found if found is not None and found.kind == "directory" else None), name

    def write(self, path: str, text: str) -> bool:
        parent, name = self.parent(path)
        node = self.find(path)
        if parent is None or (node is not None and node.kind != "file"):
            return False
        if node is None:
            parent.children[name] = Node("file", self.layer, self.layer, text, 0o644)
        else:
            node.content, node.touched = node.content + text, self.layer
        return True

    def chmod(self, path: str, mode: int) -> bool:
        node = self.find(path)
        if node is None or node.kind == "link":
            return False
        node.mode, node.touched = mode, self.layer
        return True

    def make(self, path: str, kind: str) -> bool:
        parent, name = self.parent(path)
        if parent is None or self.find(path) is not None:
            return False
        content, mode = ("nowhere", 0o777) if kind == "link" else ("", 0o755)
        parent.children[name] = Node(kind, self.layer, self.layer, content, mode)
        return True

    def remove(self, path: str) -> bool:
        node = self.find(path)
        parent, name = self.parent(path)
        if node is None or parent is None or node.children:
            return False
        del parent.children[name]
        return True

    def remake(self, path: str) -> bool:
        """A directory is deleted with its content, and recreated."""
        node = self.find(path)
        if node is None or node.kind != "directory":
            return False
        node.children.clear()
        return self.remove(path) and self.make(path, "directory")

    def rename(self, old: str, new: str) -> bool:
        node, target = self.find(old), self.find(new)
        parent, name = self.parent(new)
        if node is None or parent is None or f"{new}/".startswith(f"{old}/"):
            return False
        if node.kind == "directory" and node.born < self.layer and not self._moves_directories:
            return False
        if target is not None and ("directory" in (node.kind, target.kind)):
            if node.kind != target.kind or target.children:
                return False
        above, last = self.parent(old)
        assert above is not None
        del above.children[last]
        parent.children[name] = node
        node.touched = self.layer
        return True


class Acts:
    """The same acts, on the model and on a mounted overlay."""

    def __init__(self, model: Model, root: Path, dice: random.Random) -> None:
        self.model = model
        self.root = root
        self.dice = dice

    def path(self) -> str:
        return "".join("/" + self.dice.choice(NAMES) for _ in range(self.dice.randint(1, 3)))

    def act(self) -> None:
        """One act at random; both sides must agree whether it can be done."""
        name = self.dice.choice(
            (
                "write",
                "write",
                "chmod",
                "mkdir",
                "mkdir",
                "link",
                "remove",
                "remove",
                "rename",
                "remake",
            )
        )
        path, new = self.path(), self.path()
        text, mode = f"{self.dice.random()}\n", self.dice.choice((0o600, 0o640, 0o755))
        done = {
            "write": lambda: self.model.write(path, text),
            "chmod": lambda: self.model.chmod(path, mode),
            "mkdir": lambda: self.model.make(path, "directory"),
            "link": lambda: self.model.make(path, "link"),
            "remake": lambda: self.model.remake(path),
            "remove": lambda: self.model.remove(path),
            "rename": lambda: path != new and self.model.rename(path, new),
        }[name]()
        if name == "rename" and path == new:
            return
        happened = self._happens(name, path, new, text, mode)
        assert happened == done, (name, path, new, "model", done, "kernel", happened)

    def _happens(self, name: str, path: str, new: str, text: str, mode: int) -> bool:
        there, new_there = f"{self.root}{path}", f"{self.root}{new}"
        try:
            if name == "write":
                with open(os.open(there, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW,
                                  0o644), "w") as file:  # fmt: skip
                    file.write(text)
            elif name == "chmod":
                if os.path.islink(there):
                    return False
                os.chmod(there, mode)
            elif name == "mkdir":
                os.mkdir(there, 0o755)
            elif name == "remake":
                if os.path.islink(there):
                    return False
                shutil.rmtree(there)
                os.mkdir(there, 0o755)
            elif name == "link":
                os.symlink("nowhere", there)
            elif name == "remove":
                directory = os.path.isdir(there) and not os.path.islink(there)
                (os.rmdir if directory else os.unlink)(there)
            else:
                os.rename(there, new_there)
        except OSError as error:
            assert error.errno in (
                errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY,
                errno.ELOOP, errno.EXDEV, errno.EINVAL,
            ), error  # fmt: skip
            return False
        return True


@contextmanager
def mounted(
    lowers: list[Path], upper: Path, work: Path, target: Path, options: str = ""
) -> Iterator[Path]:
    """An overlay, mounted by mount(8) while the block runs. lowers: topmost first."""
    given = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={work}{options}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", given, target], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", target], check=True)
