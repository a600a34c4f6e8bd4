"""Patterns and texts that would take a naive builder for ever, or all memory."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time

import pytest

from minidock.cli.flags.filters import BadFilter, matches_regexp
from minidock.engine.dockerfile import config
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.dockerignore import Ignore
from minidock.engine.dockerfile.glob import replace
from minidock.engine.dockerfile.parser import parse
from minidock.wildcards import path_pattern
from support.patience import patience

_RE = {"*": "[^/]*", "?": "[^/]", "[^a]": "[^a/]"}


def test_a_pattern_matches_what_its_regular_expression_matches() -> None:
    chosen = random.Random(1)
    for _ in range(5000):
        pieces = chosen.choices(
            ["a", "b", "*", "?", "/", "[ab]", "[^a]", "\\*"], k=chosen.randint(0, 7)
        )
        text = "".join(chosen.choices("ab*/", k=chosen.randint(0, 7)))
        expected = (
            re.fullmatch("".join(_RE.get(piece, piece) for piece in pieces), text) is not None
        )
        assert path_pattern("".join(pieces)).matches(text) == expected, (pieces, text)


def test_a_replaced_pattern_is_the_first_longest_one() -> None:
    chosen = random.Random(2)
    for _ in range(3000):
        pattern = "".join(chosen.choices("ab*?", k=chosen.randint(1, 4)))
        text = "".join(chosen.choices("abc\n", k=chosen.randint(0, 8)))
        expression = pattern.replace("*", "[^\n]*").replace("?", "[^\n]")
        expected = re.sub(expression, "-", text, count=1)
        assert replace(text, pattern, "-", everywhere=False) == expected, (pattern, text)


@pytest.mark.parametrize("line", ["*a" * 30 + "b", "**/*a" * 30 + "b", "*" * 16_000 + "b"])
def test_no_ignored_pattern_is_slow(line: str) -> None:
    begun = time.process_time()
    assert not Ignore(line.encode()).matches("a" * 4000)
    assert time.process_time() - begun < patience(1)


@pytest.mark.slow
def test_a_filter_that_would_never_end_is_refused() -> None:
    with pytest.raises(BadFilter, match="takes more than 1 second"):
        matches_regexp("(a*)*b", "a" * 40)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("[[a]", "xa", True), ("[[:digit:]x]$", "a5", True), ("[[:alpha:]]", "55", False),
        (r"b\z", "ab", True), ("(?i)B", "ab", True), ("(?P<n>a)b", "ab", True),
        ("(?:a|b)+?", "ab", True), ("a{2,3}", "caaat", True), (r"\d", "٣", False),
        (r"\Qa.b\E", "axb", False), (r"\Qa.b\E$", "a.b", True), ("(?<n>a)", "a", True),
        (r"^\x{61}\142$", "ab", True), ("a{,3}", "aa", False), ("a{,3}", "a{,3}", True),
        (r"\x{110000}", "a", False), (r"\x{" + "9" * 5000 + "}", "a", False),
        ("[a&&b]", "&", True), ("[a--b]", "-", False), ("a]", "a]", True),
        # What Go refuses is in no text; Docker then looks for the very name.
        ("(?=a)", "a", False), ("(?<!b)a", "a", False), (r"(a)\1", "aa", False),
        ("a++", "aa", False), ("a{1001}", "a" * 1001, False), ("(", "(a", False), ("(", "(", True),
        ("(?>a)", "a", False), ("(?#x)a", "a", False), (r"a\Z", "a", False),
    ],
)  # fmt: skip
def test_a_filters_expressions_are_gos(
    pattern: str, text: str, expected: bool, recwarn: pytest.WarningsRecorder
) -> None:
    assert matches_regexp(pattern, text) is expected
    assert not recwarn.list


def test_no_warning_of_pythons_reaches_a_user() -> None:
    script = """
import sys
sys.argv = ["minidock", "volume", "ls", "--help"]
from minidock.cli.main import run
run(sys.argv[1:])
import re, warnings
re.compile("[[a]")
warnings.warn("of a library", UserWarning)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("line", ["ENV A=$A$A", "ENV A=${A//a/$A}", "LABEL a=$A$A$A$A b=$A"])
def test_doubled_values_end_in_an_error_that_names_the_line(line: str) -> None:
    text = "FROM scratch\nENV A=" + "a" * 300_000 + "\n" + f"{line}\n" * 30
    run_config: dict[str, object] = {}
    variables: dict[str, str] = {}
    with pytest.raises(DockerfileError) as caught:
        for one in parse(text.encode()).instructions[1:]:
            config.apply(run_config, one, variables, cmd_is_set=False)
            variables.update(config.environment(run_config))
    assert caught.value.lines[0] >= 3
    assert "MiB" in str(caught.value) or "too long" in str(caught.value)
    assert len(str(caught.value)) < 5000
