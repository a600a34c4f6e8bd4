"""Breakpoints: the operations before which the debugger stops."""

from __future__ import annotations

from minidock.kernel.op import REGISTRY
from minidock.teach.op_page import names_of, ops_named


class Breakpoints:
    """A set of names: of ops (mount.pivot_root, pivot_root), man pages (mount(2)) or modules."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def stop_before(self, op: str) -> bool:
        """Whether an op has a breakpoint."""
        return bool(self._names.intersection(names_of(REGISTRY[op])))

    def add(self, name: str) -> str:
        """Set a breakpoint; returns a message."""
        if not ops_named(name):
            return f"{name}: no such operation{_similar(name)}"
        self._names.add(name.partition("(")[0])
        return f"breakpoint before each {name}"

    def remove(self, name: str) -> str:
        """Delete a breakpoint; returns a message."""
        plain = name.partition("(")[0]
        known = plain in self._names
        self._names.discard(plain)
        return f"no breakpoint before {name} " + ("any more" if known else "is set")

    def list_text(self) -> str:
        """All breakpoints as text."""
        return "breakpoints: " + (", ".join(sorted(self._names)) or "none")


def _similar(name: str) -> str:
    from difflib import get_close_matches

    known = {n for op in REGISTRY for n in (op, op.rpartition(".")[2])}
    found = get_close_matches(name, sorted(known), n=3)
    return f"; is it {' or '.join(found)}?" if found else ""
