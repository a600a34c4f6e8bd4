"""Find the journal step that created a rule or a device.

The first container on a network creates its bridge and rules, and others may restore them; so this
searches the journals of all containers and networks of the store for the latest step.
"""

from __future__ import annotations

from typing import NamedTuple

from minidock.engine.container.lookup import list_containers
from minidock.engine.network.network_json import list_names as networks
from minidock.paths import Store
from minidock.teach.journal_reader import JournalEntry
from minidock.teach.subject import read_ops


class Step(NamedTuple):
    """A step, as `minidock explain --all CONTAINER` numbers it: by container, actor and number."""

    container: str
    actor: str
    number: int
    op: str

    def __str__(self) -> str:
        return f"{self.actor} {self.number} of {self.container}"


class Steps:
    """The steps of all journals of a store that created links or rules."""

    def __init__(self, store: Store) -> None:
        journals = {container.name: container.paths.journal for container in list_containers(store)}
        for network in networks(store):
            journals[f"network {network}"] = store.network_journal(network)
        self._records: list[tuple[str, JournalEntry]] = []
        for name, path in journals.items():
            for entry in read_ops(path, lambda story: True):
                if entry.record["op"].startswith(("link.", "iptables.restore")):
                    self._records.append((name, entry))
        self._records.sort(key=lambda each: each[1].record["t"])

    def of_rule(self, table: str, text: str, *, container: str = "") -> Step | None:
        """The step that added this rule to this table; text: "-A CHAIN …" of iptables-save.

        container: whose network namespace has the rule; "" for the host's. The rules inside are the
        same in each container.
        """
        rule = text.removeprefix("-A ")
        chain, _, rest = rule.partition(" ")
        for name, entry in reversed(self._records):
            record = entry.record
            if record["op"] == "iptables.restore" and container in ("", name):
                rules = f"\n{record['args']['rules']}".partition(f"\n*{table}\n")[2]
                lines = rules.partition("\nCOMMIT")[0].splitlines()
                if any(_writes(line, chain, rest) for line in lines):
                    return _step(name, entry)
        return None

    def of_link(self, op: str, **arguments: str) -> Step | None:
        """The step that performed this op of kernel/link.py with these arguments."""
        for name, entry in reversed(self._records):
            record, args = entry.record, entry.record["args"]
            if record["op"] == f"link.{op}" and all(args[n] == v for n, v in arguments.items()):
                return _step(name, entry)
        return None


def _writes(line: str, chain: str, rule: str) -> bool:
    """Whether a line of iptables-restore appends or inserts a rule."""
    word, _, rest = line.partition(" ")
    name, _, rest = rest.partition(" ")
    if word == "-I":
        rest = rest.partition(" ")[2]
    return word in ("-A", "-I") and (name, rest) == (chain, rule)


def _step(name: str, entry: JournalEntry) -> Step:
    return Step(name, entry.record["actor"], entry.number, entry.record["op"])
