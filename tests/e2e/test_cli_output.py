"""How commands end: pipes that close, users without root, errors with hints, files in the way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.command import Minidock, command_line, environment
from support.nobody import as_nobody
from support.patience import patience

pytestmark = pytest.mark.root


def run_as_nobody(minidock: Minidock, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        as_nobody(*command_line(), *arguments),
        capture_output=True,
        text=True,
        env=environment(minidock.root),
        check=False,
    )


@pytest.mark.parametrize(
    "line", ["ps", "run busybox", "images", "image ls", "rm x", "volume ls", "info", "inspect x"]
)
def test_without_root_a_command_says_so_in_one_sentence(line: str, minidock: Minidock) -> None:
    result = run_as_nobody(minidock, *line.split())
    assert result.returncode == 1
    assert result.stdout == ""
    first, hint = result.stderr.splitlines()
    assert first.endswith("needs root")
    assert hint.startswith("  hint: sudo minidock")


@pytest.mark.parametrize(
    "line", ["--help", "version", "run --help", "completion bash", "explain pivot_root"]
)
def test_what_needs_no_root_works_without(line: str, minidock: Minidock) -> None:
    result = run_as_nobody(minidock, *line.split())
    assert (result.returncode, result.stderr) == (0, "")


def test_a_reader_that_goes_away_is_no_error(minidock: Minidock, busybox_image: str) -> None:
    endless = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxx; done"
    minidock.ok("run", "-d", "--net", "none", "--name", "loud", busybox_image, "sh", "-c", endless)
    for arguments in (("logs", "-f", "loud"), ("ps", "-a")):
        command = minidock.start(*arguments)
        assert command.stdout is not None and command.stderr is not None
        command.stdout.close()
        assert command.wait(30) in (0, 141)
        assert command.stderr.read() == b""
    minidock.ok("rm", "-f", "loud")


def test_tracebacks_come_only_with_debug(minidock: Minidock) -> None:
    plain, debug = minidock("inspect", "nobody"), minidock("--debug", "nosuchcommand")
    first, hint = plain.stderr.splitlines()
    assert first == "minidock: No such object: nobody" and hint.startswith("  hint: ")
    assert "Traceback" in debug.stderr


def test_kernel_errors_say_where_to_read_on(minidock: Minidock, busybox_image: str) -> None:
    result = minidock("run", "--rm", "--net", "none", "-w", "/etc/passwd", busybox_image, "true")
    assert result.code != 0
    assert result.stderr.startswith("minidock: ")
    assert "Traceback" not in result.stderr


def test_start_of_a_missing_command_ends_with_one(minidock: Minidock, busybox_image: str) -> None:
    container = minidock.ok("create", busybox_image, "nope")
    for flags in ((), ("-a",)):
        refused = minidock("start", *flags, container)
        assert refused.code == 1 and "executable file not found" in refused.stderr


def test_cidfile_holds_the_id_and_is_never_written_over(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    path = tmp_path / "cid"
    flags = ("create", "--cidfile", str(path))
    container = minidock.ok(*flags, busybox_image)
    assert path.read_text() == container
    again = minidock(*flags, busybox_image)
    assert again.code == 1 and "container ID file found" in again.stderr
    assert path.read_text() == container
    path.unlink()
    assert minidock(*flags, "nosuchimage").code == 1
    assert not path.exists()


def test_a_taken_name_says_how_to_go_on(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("create", "--name", "web", busybox_image)
    result = minidock("run", "--name", "web", busybox_image)
    assert result.code == 125
    for way in ("minidock start -ai web", "minidock rm -f web", "--name"):
        assert way in result.stderr


def test_a_missing_image_says_where_images_come_from(minidock: Minidock) -> None:
    result = minidock("run", "nosuchimage")
    assert result.code == 125
    assert "Unable to find image 'nosuchimage:latest' locally" in result.stderr
    for way in ("minidock images", "minidock load", "minidock image make"):
        assert way in result.stderr


def test_both_spellings_do_the_same(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("create", "--name", "web", busybox_image)
    for short, long in (
        ("ps -aq", "container ls -aq"),
        ("ps -aq", "container list --all --quiet"),
        ("images -q", "image ls -q"),
        ("inspect web", "container inspect web"),
        ("info", "info"),
    ):
        assert minidock.ok(*short.split()) == minidock.ok(*long.split())
    assert minidock.ok("container", "rm", "web") == "web"
    assert minidock.ok("image", "rm", busybox_image).startswith(f"Untagged: {busybox_image}\n")


def test_stdin_reaches_the_command_and_its_end_too(minidock: Minidock, busybox_image: str) -> None:
    data = os.urandom(100_000)
    command = minidock.start("run", "-i", "--rm", "--net", "none", busybox_image, "cat")
    out, err = command.communicate(data, timeout=patience(30))
    assert (command.returncode, err) == (0, b"")
    assert out == data


def test_completion_proposes_commands_flags_and_names(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("create", "--name", "webserver", busybox_image)

    def proposals(words: str, position: int) -> list[str]:
        asked = {
            "COMP_WORDS": words,
            "COMP_CWORD": str(position),
            "_MINIDOCK_COMPLETE": "bash_complete",
        }
        lines = minidock.ok(env=asked).splitlines()
        return [line.partition(",")[2] for line in lines]

    assert proposals("minidock ren", 1) == ["rename"]
    assert proposals("minidock image m", 2) == ["make"]
    assert "--memory-swap" in proposals("minidock run --memory", 2)
    assert proposals("minidock rm web", 2) == ["webserver"]
    assert proposals("minidock run --rm busy", 3) == ["busybox"]
    assert proposals("minidock explain webserver piv", 3) == ["pivot_root"]
    assert proposals("minidock run busybox ", 3) == []
    minidock.ok("volume", "create", "web-data")
    minidock.ok("network", "create", "web-net")
    assert proposals("minidock volume rm we", 3) == ["web-data"]
    assert proposals("minidock network inspect we", 3) == ["web-net"]
    assert proposals("minidock network connect we", 3) == ["web-net"]
    assert proposals("minidock network connect web-net we", 4) == ["webserver"]
    assert proposals("minidock inspect ", 2) == ["bridge", "busybox", "host", "none", "web-data",
                                                 "web-net", "webserver"]  # fmt: skip
    assert proposals("minidock inspect --type volume ", 4) == ["web-data"]
    assert proposals("minidock run --network we", 3) == ["web-net"]
    assert proposals("minidock run --volumes-from we", 3) == ["webserver"]
    assert proposals("minidock rm webserver we", 3) == []
    assert proposals("minidock logs webserver we", 3) == []
    assert proposals("minidock start we", 2) == ["webserver"]
    assert proposals("minidock stop we", 2) == []
    assert proposals("minidock image make re", 3) == ["redis"]
    assert proposals("minidock completion z", 2) == ["zsh"]
    for shell in ("bash", "zsh", "fish"):
        assert "_MINIDOCK_COMPLETE" in minidock.ok("completion", shell)
