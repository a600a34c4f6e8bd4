"""Which step of which container's journal made a rule or a device that is there now.

A network's bridge and its rules are made by the container that comes first, and made again by
others; so the journals of all containers of the store are asked, and the latest step counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minidock.engine.container.lookup import list_containers
from minidock.engine.network.network_json import list_names as networks
from minidock.paths import Store
from minidock.teach.subject import read_ops


class Step(NamedTuple):
    """A step, as `minidock explain CONTAINER` numbers it: by container, actor and number."""

    container: str
    actor: str
    number: int
    op: str

    def __str__(self) -> str:
        return f"{self.actor} {self.number} of {self.container}"


class Steps:
    """The journals of a store, for asking."""

    def __init__(self, store: Store) -> None:
        journals = {container.name: container.paths.journal for container in list_containers(store)}
        for network in networks(store):
            journals[f"network {network}"] = store.network_journal(network)
        self._records: list[tuple[str, dict[str, Any]]] = []
        for name, path in journals.items():
            for entry in read_ops(path, lambda story: True):
                if entry.record["op"].startswith(("link.", "iptables.restore")):
                    self._records.append((name, entry.plain()))
        self._records.sort(key=lambda each: each[1]["t"])

    def of_rule(self, table: str, text: str, *, container: str = "") -> Step | None:
        """What wrote this rule, "-A CHAIN ..." as iptables-save prints it, into this table.

        container: in whose network it is; "" for the host's. Rules inside have the same words in
        each container.
        """
        rule = text.removeprefix("-A ")
        chain, _, rest = rule.partition(" ")
        for name, record in reversed(self._records):
            if record["op"] == "iptables.restore" and container in ("", name):
                rules = f"\n{record['args']['rules']}".partition(f"\n*{table}\n")[2]
                lines = rules.partition("\nCOMMIT")[0].splitlines()
                if any(_writes(line, chain, rest) for line in lines):
                    return _step(name, record)
        return None

    def of_link(self, op: str, **arguments: str) -> Step | None:
        """What performed this op of kernel/link.py with these arguments, such as name="veth…"."""
        for name, record in reversed(self._records):
            asked = record["args"]
            if record["op"] == f"link.{op}" and all(asked[n] == v for n, v in arguments.items()):
                return _step(name, record)
        return None


def _writes(line: str, chain: str, rule: str) -> bool:
    """Whether a line for iptables-restore puts a rule into a chain: at its end, or at a place."""
    word, _, rest = line.partition(" ")
    name, _, rest = rest.partition(" ")
    if word == "-I":
        rest = rest.partition(" ")[2]
    return word in ("-A", "-I") and (name, rest) == (chain, rule)


def _step(name: str, record: dict[str, Any]) -> Step:
    return Step(name, record["actor"], record["number"], record["op"])
