"""The small parts of the command line: sizes, times, ports, tables, filters, flags."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minidock.cli.commands import ABSENT, COMMANDS, minidock
from minidock.cli.flags import since_until, units
from minidock.cli.flags.filters import BadFilter, apply_filters
from minidock.cli.flags.process_flags import environment_file
from minidock.cli.frame.pflag import INT, Flag, parse, parse_bool, parse_int
from minidock.cli.frame.version import VERSION
from minidock.cli.main import run
from minidock.cli.output import human
from minidock.cli.output.columns import align
from minidock.engine.container.random_name import random_name
from minidock.engine.container.validation import check_name
from minidock.errors import UsageError

if TYPE_CHECKING:
    from minidock.cli.flags.filters import Reader


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("10", 10), ("10b", 10), ("1k", 1024), ("1KiB", 1024), ("1.5m", 1572864),
     ("2 GB", 2 << 30), ("1t", 1 << 40), ("1P", 1 << 50)],
)  # fmt: skip
def test_sizes_count_in_1024s(text: str, expected: int) -> None:
    assert units.size_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-1", "1 0", "1..5m", "10x", "1mm", "0x10", "１"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        units.size_bytes(text)


def test_durations_are_go_s() -> None:
    assert units.duration_nanoseconds("1h30m") == 5400 * 10**9
    assert units.duration_nanoseconds("1.5s") == 1_500_000_000
    assert units.duration_nanoseconds("300ms2us1ns") == 300_002_001
    assert units.duration_nanoseconds("-5s") == -5 * 10**9
    for text in ("", "5", "s", "1x", "1h 2m"):
        with pytest.raises(ValueError, match="invalid duration"):
            units.duration_nanoseconds(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "Less than a second"), (1.9, "1 second"), (59, "59 seconds"), (61, "About a minute"),
     (150, "2 minutes"), (3600, "About an hour"), (7300, "2 hours"), (86400 * 2, "2 days"),
     (86400 * 15, "2 weeks"), (86400 * 70, "2 months"), (86400 * 800, "2 years")],
)  # fmt: skip
def test_ages_are_said_as_docker_says_them(seconds: float, words: str) -> None:
    assert human.duration(seconds) == words


def test_sizes_are_said_in_thousands() -> None:
    assert human.size(999) == "999B"
    assert human.size(2025091, digits=3) == "2.03MB"
    assert human.size(2025091) == "2.025MB"
    assert human.binary_size(25276514304) == "23.54GiB"


def test_moments_are_durations_back_numbers_or_dates() -> None:
    assert since_until.parse_timestamp("10m") == pytest.approx(time.time() - 600, abs=5)
    assert since_until.parse_timestamp("1700000000.5") == 1700000000.5
    assert since_until.parse_timestamp("2024-05-06T07:08:09Z") == 1714979289
    with pytest.raises(ValueError, match="failed to parse value as time or duration"):
        since_until.parse_timestamp("yesterday")


def test_documents_times_keep_their_fractions() -> None:
    assert human.moment_of("2024-05-06T07:08:09.5Z") == 1714979289.5
    assert human.moment_of("2024-05-06T07:08:09.123456789Z") == pytest.approx(1714979289.123456)
    assert human.moment_of("0001-01-01T00:00:00Z") == human.moment_of("") == 0


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    lines = ["NAME\tSIZE\tX", "a-longer-name\t1\tlast cell", "ü\t\t"]
    assert align(lines) == [
        "NAME            SIZE      X",
        "a-longer-name   1         last cell",
        "ü                         ",
    ]


def test_a_line_without_a_column_ends_the_block() -> None:
    assert align(["aaaaaaaaaaaaaa\tb", "x", "c\td"]) == [
        "aaaaaaaaaaaaaa   b",
        "x",
        "c         d",
    ]


def test_filters_of_one_name_are_alternatives_and_names_add_up() -> None:
    tests: dict[str, Reader[int]] = {
        "is": lambda wanted: lambda number: number == int(wanted),
        "over": lambda wanted: lambda number: number > int(wanted),
    }
    numbers = [1, 2, 3, 4]
    assert apply_filters(numbers, (("is", "1"), ("is", "3")), tests) == [1, 3]
    assert apply_filters(numbers, (("is", "1"), ("is", "3"), ("over", "2")), tests) == [3]
    with pytest.raises(BadFilter, match="invalid filter 'foo'"):
        apply_filters([], (("foo", "1"),), tests)


def flags() -> list[Flag]:
    return [
        Flag(("-i", "--interactive"), _bool(), default=False, bare="true"),
        Flag(("-t", "--tty"), _bool(), default=False, bare="true"),
        Flag(("-n", "--number"), INT),
        Flag(("-e", "--env"), _list(), many=True),
    ]


def _bool() -> Any:
    from minidock.cli.frame.pflag import FlagType

    return FlagType("", parse_bool)


def _list() -> Any:
    from minidock.cli.frame.pflag import FlagType

    return FlagType("list", str)


@pytest.mark.parametrize(
    ("line", "values", "arguments"),
    [
        ("-it x", {"interactive": True, "tty": True}, ("x",)),
        ("-it=false x", {"interactive": True, "tty": False}, ("x",)),
        ("-n5 -e=A -eB --env C --env=D", {"number": 5, "env": ("A", "B", "C", "D")}, ()),
        ("-itn 5", {"interactive": True, "tty": True, "number": 5}, ()),
        ("--tty=0 --number=0x10", {"tty": False, "number": 16}, ()),
        ("a -t b -- -i", {"tty": True}, ("a", "b", "-i")),
        ("- x", {}, ("-", "x")),
        ("--env= x", {"env": ("",)}, ("x",)),
        ("-n -5", {"number": -5}, ()),
        ("-n 1 -n 2", {"number": 2}, ()),
    ],
)
def test_flags_are_read_as_pflag_reads_them(
    line: str, values: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    assert parse(flags(), line.split(" "), flags_first=False) == (values, arguments)


def test_flags_first_leaves_the_rest_to_the_command() -> None:
    assert parse(flags(), ["-t", "x", "-i", "--"], flags_first=True) == (
        {"tty": True},
        ("x", "-i", "--"),
    )


def test_a_mistyped_flag_gets_the_nearest_as_hint() -> None:
    with pytest.raises(UsageError) as caught:
        parse(flags(), ["--interactve"], flags_first=False)
    assert caught.value.hint == "did you mean --interactive?"


@pytest.mark.parametrize(
    ("text", "number"), [("5", 5), ("-5", -5), ("+5", 5), ("0x1f", 31), ("017", 15), ("0b11", 3)]
)
def test_numbers_are_read_in_go_s_bases(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize("text", ["", "x", "1.5", " 1", "--1", "9223372036854775808"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="strconv.ParseInt"):
        parse_int(text)


def test_env_file_with_bad_lines_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "env"
    for content, words in (
        (b"A B=1\n", "contains whitespaces"),
        (b"=1\n", "no variable name"),
        (b"A=\xff\n", "invalid utf8 bytes at line 1"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words):
            environment_file(str(path))


def test_generated_names_are_valid_and_differ() -> None:
    names = {random_name(0) for _ in range(50)} | {random_name(1) for _ in range(50)}
    assert len(names) > 80
    for name in names:
        check_name(name)


def test_every_listed_command_can_be_imported_and_says_what_it_does() -> None:
    for name in COMMANDS:
        found = minidock.find(name)
        assert found is not None and found.help.strip(), name
    assert not set(ABSENT) & set(COMMANDS)


HEAVY = (
    "click", "re", "json", "typing", "datetime", "dataclasses", "enum", "collections", "functools",
    "contextlib", "subprocess", "socket", "pathlib", "shutil", "tempfile", "inspect",
)  # fmt: skip


@pytest.mark.parametrize("module", ["run", "start", "exec", "attach", "ps", "logs", "lifecycle"])
def test_what_runs_often_imports_nothing_heavy(module: str) -> None:
    """click alone takes as long as all that `exec` does before it begins."""
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]; import minidock.cli.main, "
        f"minidock.cli.verbs.{module}; print(*(set(sys.modules) & set(sys.argv[2:])))"
    )
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, "-I", "-S", "-c", program, source, *HEAVY]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"


def test_unknown_and_absent_commands_end_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pss"]) == 1
    assert capsys.readouterr().err == (
        "minidock: 'pss' is not a minidock command\n  hint: did you mean 'minidock ps'?\n"
    )
    assert run(["compose", "."]) == 1
    assert "'minidock compose' is not available: " in capsys.readouterr().err
    assert run(["-H", "tcp://x", "ps"]) == 125
    assert "--host tcp://x is not available" in capsys.readouterr().err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"minidock version {VERSION}\n"
