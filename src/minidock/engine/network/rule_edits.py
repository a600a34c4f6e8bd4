"""How the rules of one chain become others, without touching what somebody else has put there.

An administrator may have rules in our chains, and has more in the built-in ones. So a chain is not
emptied and filled again: a rule of ours goes by its own words (-D), and comes at its own place
(-I), between rules that are not ours. `Edits` performs on a copy of the chain what it writes, since
each line moves the places of the rest.

Source: iptables-restore(8), iptables(8) "--insert", "--delete".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ANY = "*"  # in a shape: any text


class ChainEdits:
    """The lines for iptables-restore that change one chain.

    chain: its name. rules: what it has, without "-A chain"; kept up to date. text: the lines.
    """

    def __init__(self, chain: str, rules: Sequence[str]) -> None:
        self.chain = chain
        self.rules = list(rules)
        self.text = ""

    def delete(self, rule: str) -> None:
        """Take away one rule, the first of these words."""
        self.rules.remove(rule)
        self.text += f"-D {self.chain} {rule}\n"

    def insert(self, place: int, rule: str) -> None:
        """Put a rule before the one that has this place; places are counted from 0."""
        self.rules.insert(place, rule)
        self.text += f"-I {self.chain} {place + 1} {rule}\n"

    def append(self, rule: str) -> None:
        """Put a rule behind all others."""
        self.rules.append(rule)
        self.text += f"-A {self.chain} {rule}\n"

    def arrange(self, wanted: Sequence[str], is_ours: Callable[[str], bool]) -> None:
        """Have just these of our rules, in this order; those of others stay where they are."""
        for rule in list(self.rules):
            if is_ours(rule) and (rule not in wanted or self.rules.count(rule) > 1):
                self.delete(rule)
        place = 0
        for number, rule in enumerate(wanted):
            if rule in self.rules[place:]:
                place = self.rules.index(rule) + 1
                continue
            if rule in self.rules:  # it stands before one that it is to follow
                self.delete(rule)
                place -= 1
            place = self._before(wanted[number + 1 :], place)
            if place == len(self.rules):
                self.append(rule)
            else:
                self.insert(place, rule)
            place += 1

    def _before(self, following: Sequence[str], place: int) -> int:
        """The place just before the first of these rules, or the end: what an administrator has
        put first stays first."""
        for at in range(place, len(self.rules)):
            if self.rules[at] in following:
                return at
        return len(self.rules)


class RulePatterns:
    """Rules with words in them that stand for any word: what a rule of ours may look like."""

    def __init__(self, rules: Sequence[str]) -> None:
        self._shapes = [rule.split() for rule in rules]

    def match(self, rule: str) -> bool:
        """Whether a rule has one of these shapes."""
        words = rule.split()
        same_length = (shape for shape in self._shapes if len(shape) == len(words))
        return any(
            all(ANY in wanted or wanted == word for wanted, word in zip(shape, words, strict=True))
            for shape in same_length
        )
