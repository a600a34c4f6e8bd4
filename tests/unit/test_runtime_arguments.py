"""minidock-runtime's command line is parsed as runc's: by Go's rules."""

from __future__ import annotations

import pytest

from minidock.cli.frame.version import VERSION
from minidock.errors import UsageError
from minidock.runtime import arguments, release
from minidock.runtime.arguments import COMMANDS, help_text, parse


def test_one_dash_or_two_a_blank_or_an_equals_sign() -> None:
    for words in (["--root", "/r"], ["--root=/r"], ["-root", "/r"], ["-root=/r"]):
        assert parse([*words, "list"]).options["root"] == "/r"


def test_flags_may_follow_the_arguments() -> None:
    call = parse(["kill", "box", "--all", "KILL"])
    assert (call.arguments, call.flags["all"]) == (["box", "KILL"], True)


def test_another_programs_words_are_left_alone() -> None:
    call = parse(["exec", "-t", "box", "ls", "-t", "--help"])
    assert call.arguments == ["box", "ls", "-t", "--help"]
    assert call.flags["tty"] is True
    assert parse(["ps", "-f", "json", "box", "-ef"]).arguments == ["box", "-ef"]


def test_a_switch_takes_true_and_false() -> None:
    assert parse(["run", "--detach=false", "box"]).flags["detach"] is False
    with pytest.raises(UsageError, match="invalid boolean value 'maybe'"):
        parse(["run", "--detach=maybe", "box"])


def test_two_dashes_end_the_flags() -> None:
    assert parse(["run", "--", "--box"]).arguments == ["--box"]


def test_a_flag_may_be_given_several_times() -> None:
    call = parse(["exec", "-e", "A=1", "--env", "B=2", "box", "true"])
    assert call.flags["env"] == ["A=1", "B=2"]


def test_numbers_are_numbers() -> None:
    assert parse(["run", "--preserve-fds", "3", "box"]).flags["preserve_fds"] == 3
    with pytest.raises(UsageError, match="not a number"):
        parse(["run", "--preserve-fds", "x", "box"])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "--bundle"], "needs an argument: -bundle"),
        (["run", "--colour", "box"], "not defined: -colour"),
        (["--colour", "run", "box"], "not defined: -colour"),
        (["restore", "box"], "restore is not supported"),
        (["run", "--no-pivot", "box"], "-no-pivot is not supported"),
        (["exec", "--process-label", "x", "box"], "-process-label is not supported"),
    ],
)
def test_what_is_not_offered_is_named(words: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse(words)


def test_a_refused_flag_that_asks_for_nothing_is_accepted() -> None:
    assert parse(["--systemd-cgroup=false", "--rootless=false", "list"]).command == "list"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    assert parse([name, "--help"]).arguments == [name]
    assert parse(["help", name]).arguments == [name]
    assert help_text(name).startswith(f"{name} - ")


def test_the_help_lists_only_what_is_offered() -> None:
    told = help_text()
    assert "    exec " in told
    for absent in ("checkpoint", "restore", "events", "--systemd-cgroup", "--criu"):
        assert absent not in told


def test_the_version_is_the_command_lines() -> None:
    assert release.VERSION == VERSION
    assert arguments.parse(["--version"]).command == "version"
