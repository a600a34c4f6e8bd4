"""Random names for containers: an adjective and a person worth reading about.

Containers build on the work of these people: Unix, Linux, networks, file systems, languages and
mathematics. A name can be in use already; the caller then asks for another one.
"""

from __future__ import annotations

import os

_ADJECTIVES = (
    "able", "agile", "airy", "amber", "ample", "apt", "bold", "brave", "breezy", "bright",
    "brisk", "calm", "candid", "careful", "cheery", "chief", "civil", "clear", "clever", "cosy",
    "crisp", "curious", "daring", "deft", "deep", "eager", "early", "earnest", "easy", "exact",
    "fair", "fine", "firm", "fleet", "fluent", "fond", "frank", "free", "fresh", "frugal",
    "gentle", "glad", "golden", "grand", "green", "handy", "happy", "hardy", "honest", "humble",
    "ideal", "jolly", "just", "keen", "kind", "lasting", "level", "light", "lively", "loyal",
    "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "novel",
    "open", "patient", "plain", "polite", "prime", "proud", "quick", "quiet", "rapid", "ready",
    "robust", "round", "rustic", "serene", "sharp", "silent", "simple", "smooth", "sober",
    "solid", "sound", "spry", "stable", "steady", "stout", "sunny", "sure", "swift", "tidy",
    "tough", "tranquil", "true", "upbeat", "vivid", "warm", "wise", "witty", "young", "zesty",
)  # fmt: skip
_SURNAMES = (
    "aho", "allen", "babbage", "backus", "baran", "bartik", "bell", "bellard", "berners",
    "biederman", "bolz", "boole", "borg", "bourne", "brin", "brooks", "carmack", "cerf",
    "chomsky", "church", "clark", "codd", "cook", "corbato", "cox", "daemen", "dahl", "dijkstra",
    "diffie", "engelbart", "euler", "feinler", "floyd", "gleixner", "goldberg", "goldwasser",
    "gosling", "granville", "gray", "hamilton", "hamming", "hellman", "hightower", "hoare",
    "holberton", "hopper", "joy", "kahn", "kay", "kernighan", "kleinrock", "knuth", "kozlov",
    "kuznetsov", "lamport", "lamarr", "lampson", "leffler", "lessig", "levien", "liskov", "love",
    "lovelace", "lutz", "mcilroy", "mckusick", "mccarthy", "meyer", "micali", "milner", "molnar",
    "moore", "mochel", "morris", "naur", "nygaard", "ossanna", "papert", "perlman", "peters",
    "pike", "postel", "prisby", "ritchie", "rivest", "rossum", "saltzer", "shamir", "shannon",
    "sinclair", "snover", "stallman", "stevens", "stroustrup", "sutherland", "tanenbaum",
    "tarjan", "thompson", "torvalds", "turing", "ullman", "viro", "wall", "weinberger", "wilkes",
    "wirth", "wozniak", "yao", "zuse",
)  # fmt: skip


def random_name(attempt: int) -> str:
    """Return a name such as "brisk_lovelace"; from the second attempt on with a digit."""
    first, second, digit = os.urandom(1)[0], os.urandom(1)[0], os.urandom(1)[0] % 10
    name = f"{_ADJECTIVES[first % len(_ADJECTIVES)]}_{_SURNAMES[second % len(_SURNAMES)]}"
    return f"{name}{digit}" if attempt else name
