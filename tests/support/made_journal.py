"""Journals that tests make up: lines as the runtime writes them, and their entries."""

from __future__ import annotations

import json
from typing import Any

from minidock.kernel.isolation import OF_OP
from minidock.teach.journal_reader import JournalEntry, JournalReader, load_ops

load_ops()
CLONE: dict[str, Any] = {
    "namespaces": ["mount", "pid", "ipc", "uts", "network"],
    "run_child": "become_init",
    "cgroup_fd": None,
    "as_sibling": False,
}


def lines(*ops: tuple[str, str, dict[str, Any], dict[str, Any]]) -> list[str]:
    """Journal lines of operations: (actor, op, arguments, fields of the end record).

    The first one creates init.
    """
    found = []
    for number, (actor, op, args, end) in enumerate(ops, 1):
        stem = "m.1" if actor == "init" else "m"
        key = {"id": f"{stem}.{number}", "actor": actor, "pid": 7}
        tags = OF_OP.get(op, ("process",))
        isolation = tags(args) if callable(tags) else list(tags)
        begin = {**key, "begin": number, "t": number * 1000000, "op": op, "args": args,
                 "isolation": isolation, "phase": "runtime.init.run_init", "line": 1}  # fmt: skip
        found += [json.dumps(begin), json.dumps({**key, "end": number, "us": 10, **end})]
    return found


def entries(*ops: tuple[str, str, dict[str, Any], dict[str, Any]]) -> list[JournalEntry]:
    reader = JournalReader()
    return [entry for line in lines(*ops) for entry in reader.read(line)] + reader.unfinished()
