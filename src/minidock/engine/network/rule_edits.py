"""Edit an iptables chain rule by rule, without touching rules of other programs.

An administrator may have rules in our chains, and has others in the built-in ones. So a chain is
not flushed and filled again: our rules are deleted by specification (-D) and inserted by position
(-I). `ChainEdits` applies each line to a copy of the chain, since each changes the positions.

Source: iptables-restore(8), iptables(8) "--insert", "--delete".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ANY = "*"  # in a pattern: any text


class ChainEdits:
    """Collects lines for iptables-restore that change one chain.

    chain: its name. rules: its rules after the edits, without "-A chain". text: the lines.
    """

    def __init__(self, chain: str, rules: Sequence[str]) -> None:
        self.chain = chain
        self.rules = list(rules)
        self.text = ""

    def delete(self, rule: str) -> None:
        """Delete the first rule that equals this one."""
        self.rules.remove(rule)
        self.text += f"-D {self.chain} {rule}\n"

    def insert(self, index: int, rule: str) -> None:
        """Insert a rule at an index, counted from 0."""
        self.rules.insert(index, rule)
        self.text += f"-I {self.chain} {index + 1} {rule}\n"

    def append(self, rule: str) -> None:
        """Append a rule."""
        self.rules.append(rule)
        self.text += f"-A {self.chain} {rule}\n"

    def arrange(self, wanted: Sequence[str], is_ours: Callable[[str], bool]) -> None:
        """Replace our rules by the wanted ones, in this order; other rules keep their positions."""
        for rule in list(self.rules):
            if is_ours(rule) and (rule not in wanted or self.rules.count(rule) > 1):
                self.delete(rule)
        position = 0
        for number, rule in enumerate(wanted):
            if rule in self.rules[position:]:
                position = self.rules.index(rule) + 1
                continue
            if rule in self.rules:  # before a rule that it must follow
                self.delete(rule)
                position -= 1
            position = self._index_before(wanted[number + 1 :], position)
            if position == len(self.rules):
                self.append(rule)
            else:
                self.insert(position, rule)
            position += 1

    def _index_before(self, following: Sequence[str], start: int) -> int:
        """Return the index of the first of these rules, or the end: rules that an administrator has
        put first stay first."""
        for at in range(start, len(self.rules)):
            if self.rules[at] in following:
                return at
        return len(self.rules)


class RulePatterns:
    """Patterns of our rules, in which a word with ANY matches any word."""

    def __init__(self, rules: Sequence[str]) -> None:
        self._patterns = [rule.split() for rule in rules]

    def match(self, rule: str) -> bool:
        """Whether a rule matches one of the patterns."""
        words = rule.split()
        same_length = (pattern for pattern in self._patterns if len(pattern) == len(words))
        return any(
            all(
                ANY in wanted or wanted == word for wanted, word in zip(pattern, words, strict=True)
            )
            for pattern in same_length
        )
