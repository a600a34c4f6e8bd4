"""Apply an iptables-restore text to the output of iptables-save, without iptables.

It supports what minidock's texts contain: new or flushed chains, a policy, and rules appended,
inserted or deleted in the form in which iptables-save prints them.

Source: iptables-restore(8).
"""

from __future__ import annotations

from minidock.engine.network.firewall import parse


def after(saved: str, text: str) -> str:
    """The output of iptables-save after `iptables-restore --noflush` with a text.

    saved: its output before.
    """
    tables = parse(saved)
    policies = _policies(saved)
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        name, _, rule = rest.partition(" ")
        if line.startswith("*"):
            table = line[1:]
            chains = tables.setdefault(table, {})
        elif line.startswith(":"):
            if rest.startswith("-"):
                chains[word[1:]] = []
            else:
                policies[table, word[1:]] = name
        elif word == "-A":
            chains.setdefault(name, []).append(rule)
        elif word == "-I":
            place, _, inserted = rule.partition(" ")
            chains.setdefault(name, []).insert(int(place) - 1, inserted)
        elif word == "-D":
            chains[name].remove(rule)
        elif word == "-F":
            chains[name] = []
        elif word == "-X":
            del chains[name]
    return "".join(
        f"*{table}\n"
        + "".join(f":{name} {policies.get((table, name), '-')} [0:0]\n" for name in chains)
        + "".join(f"-A {name} {rule}\n" for name, rules in chains.items() for rule in rules)
        + "COMMIT\n"
        for table, chains in tables.items()
    )


def _policies(saved: str) -> dict[tuple[str, str], str]:
    found, table = {}, ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            found[table, name] = policy
    return found
