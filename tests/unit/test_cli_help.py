"""`--help`, held against that of the real docker client: the same usage, commands and flags.

The words beside a flag are minidock's own. What differs is listed here, and nowhere else.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from minidock.cli.commands import COMMANDS, TEACH, minidock
from minidock.cli.frame.command import Command
from minidock.cli.frame.lazy import Group
from minidock.cli.helptext import list_aliases, print_help
from minidock.errors import MinidockError
from support.command import SOURCE

pytestmark = pytest.mark.xdist_group("docker's help")  # a hundred texts, asked for once

Words = tuple[str, ...]

OWN_COMMANDS: dict[Words, set[str]] = {
    (): {
        "completion",
        "doctor",
        *(name for name, (section, *_) in COMMANDS.items() if section == TEACH),
    },
    ("image",): {"make"},  # a base image by a recipe, for a machine without the Internet
    ("system",): {
        "check",
        "doctor",
        "down",
        "start-all",
        "stop-all",
    },  # a daemon's work, where there is none
}
OWN_FLAGS: dict[str, set[str]] = {
    "run": {"--explain", "--step", "--lang", "--without", "--yes-in-a-vm"},
    "create": {"--detach-keys"},  # kept for the `start -a` that follows
    "build": {"--volume"},  # a package manager's cache, as podman build has it
}
OTHER_USAGE: dict[str, str] = {
    "builder": "no flag of the group's: there is one builder",
    "network rm": "docker leaves out [OPTIONS], and has one",
    "builder du": "docker leaves out [OPTIONS], and has some",
    "builder prune": "docker leaves out [OPTIONS], and has some",
}


def docker_help(path: Words) -> str:
    """What the docker client answers; `build` is buildx's there, too."""
    done = subprocess.run(["docker", *path, "--help"], capture_output=True, text=True, check=False)
    return done.stdout


@pytest.fixture(scope="module")
def docker() -> dict[Words, str]:
    """docker's help text of every command that both have, by its words."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    paths = [path for path, _ in every()]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(paths, pool.map(docker_help, paths), strict=True))


def every(group: Group = minidock, path: Words = ()) -> Iterator[tuple[Words, Command | Group]]:
    """All groups, and each command by one of its spellings."""
    yield path, group
    for name in group.table:
        found = group.find(name)
        if name in OWN_COMMANDS.get(path, ()) or name == "buildx":
            continue
        if isinstance(found, Group):
            yield from every(found, (*path, name))
        elif path not in (("container",), ("image",)) or name not in minidock.table:
            assert found is not None
            yield (*path, name), found


def flags_of(text: str) -> dict[str, tuple[str, bool]]:
    """The flags of a help text: long name -> (short name, does it take a value?)."""
    found = {}
    for line in text.splitlines():
        if match := re.match(r"  (?:(-\w), |    )(--[\w-]+) ?(\S*)", line):
            found[match[2]] = (match[1] or "", match[3] != "")
    found.pop("--help", None)
    return found


def commands_of(text: str) -> set[str]:
    return set(re.findall(r"^  ([a-z][a-z-]+)\*? +[A-Z]", text, re.M))


def usage_of(text: str, path: Words) -> list[str]:
    """The lines of a usage, without the words by which the command is called."""
    lines = text.partition("Usage:")[2].partition("\n\n")[0].splitlines()
    called = r"^\s*(docker|minidock)( buildx)?( container| image)?"
    return [
        re.sub(f"{called}( {' '.join(path)}| {path[-1] if path else ''})?", "", x) for x in lines
    ]


def help_of(path: Words, thing: Command | Group, capsys: pytest.CaptureFixture[str]) -> str:
    print_help(thing, " ".join(("minidock", *path)))
    return capsys.readouterr().out


def test_usage_and_flags_are_dockers(
    docker: dict[Words, str], capsys: pytest.CaptureFixture[str]
) -> None:
    differences = []
    for path, thing in every():
        name = " ".join(path)
        text, theirs = help_of(path, thing, capsys), docker[path]
        want, got = flags_of(theirs), flags_of(text)
        refused = {n for flag in thing.flags if flag.hidden for n in flag.names}
        own = OWN_FLAGS.get(path[-1] if path else "", set())
        differences += [f"{name} {flag}: only docker" for flag in set(want) - set(got) - refused]
        differences += [f"{name} {flag}: only minidock" for flag in set(got) - set(want) - own]
        both = set(want) & set(got)
        differences += [f"{name} {x}: {want[x]} {got[x]}" for x in both if want[x] != got[x]]
        if name not in OTHER_USAGE and usage_of(theirs, path) != usage_of(text, path):
            differences.append(f"{name}: {usage_of(theirs, path)} {usage_of(text, path)}")
    assert not differences, "\n".join(differences)


def test_every_command_of_dockers_is_there_or_says_why_not(docker: dict[Words, str]) -> None:
    for path, group in every():
        if isinstance(group, Group):
            theirs = commands_of(docker[path])
            assert theirs or not group.table
            assert theirs - set(group.table) == set(group.absent) & theirs, path
            assert set(group.table) - theirs - {"buildx"} == OWN_COMMANDS.get(path, set())


def test_every_flag_that_is_refused_says_why() -> None:
    for path, thing in every():
        for flag in thing.flags:
            if flag.hidden:
                with pytest.raises(MinidockError, match=r"is not available: .{8}"):
                    flag.read("what-no-flag-takes")
                assert not flag.help, (path, flag.names)


def test_list_aliases_are_those_of_docker(docker: dict[Words, str]) -> None:
    for path, theirs in docker.items():
        want = theirs.partition("Aliases:\n")[2].partition("\n")[0].replace("docker", "minidock")
        if want and path and path[-1] not in ("build", "builder"):  # buildx's have other names
            assert sorted(want.strip().split(", ")) == sorted(
                list_aliases(" ".join(("minidock", *path)))
            )


def test_a_help_text_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for path, thing in every():
        text = help_of(path, thing, capsys)
        of_flags = [x for x in text.splitlines() if x.startswith(("  -", "      "))]
        assert max(map(len, of_flags), default=0) <= 80 or path[-1] in ("run", "create"), path


def test_help_and_mistakes_load_no_click() -> None:
    for line in (["run", "--help"], ["--help"], ["container", "--help"], ["help", "ps"]):
        program = (
            f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from minidock.cli.main import run; "
            f"code = run({line!r}); print(*sys.modules, sep='\\n', file=sys.stderr); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("\nUsage:  minidock ")
        assert not {"click", "typing", "textwrap", "shutil"} & set(done.stderr.split())


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("ru", "did you mean 'minidock run'?"),
        ("conatiner ls", "did you mean 'minidock container'?"),
        ("image remov x", "did you mean 'minidock image remove'?"),
        ("qqq", "see minidock --help"),
        ("run --memroy 5m x", "did you mean --memory?"),
        ("ps --formt x", "did you mean --format?"),
        ("run -rm x", "did you mean --rm?"),
        ("run --volum /x busybox", "did you mean --volume?"),
        ("network create --subent 10.0.0.0/24 x", "did you mean --subnet?"),
    ],
)
def test_the_nearest_is_suggested(typed: str, hint: str) -> None:
    with pytest.raises(MinidockError) as raised:
        minidock.run("minidock", typed.split())
    assert raised.value.hint == hint


def test_a_command_that_is_not_there_says_why() -> None:
    with pytest.raises(MinidockError, match="'minidock swarm' is not available: minidock works on"):
        minidock.run("minidock", ["swarm", "init"])


def test_no_line_is_copied_from_docker(docker: dict[Words, str]) -> None:
    """A line of four words and more is minidock's own; shorter ones say what there is to say."""
    copied = []
    for path, thing in every():
        theirs = " ".join(docker[path].split())
        lines = [thing.help.split("\n\n")[0], *(flag.help for flag in thing.flags)]
        if isinstance(thing, Group):
            lines += [line for _, _, line in thing.table.values()]
        copied += [x for x in lines if len(x.split()) > 3 and " ".join(x.split()) in theirs]
    assert copied == []
