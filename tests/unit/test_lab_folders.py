"""`lab list`, `start`, `hint` and `reset`; folders as they are read and written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minidock.cli.verbs.lab import lab as commands
from minidock.errors import Conflict, NotFound, UsageError
from minidock.teach.lab import folder
from minidock.teach.lab.submission_files import Files


def lab(*typed: str) -> int:
    """`minidock lab TYPED`, in this process."""
    return commands.run("minidock lab", list(typed))


@pytest.fixture
def started(tmp_path: Path) -> Path:
    mine = tmp_path / "mine"
    lab("start", "3", str(mine))
    return mine


def test_list_names_each_lab(capsys: pytest.CaptureFixture[str]) -> None:
    lab("list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [one.name for one in folder.list_labs()]
    assert any(" min " in line and "python, c " in line for line in lines)


def test_start_gives_the_earlier_labs_solved_and_this_one_open(started: Path) -> None:
    ours = Path(folder.labs_folder())
    assert (started / "root.py").read_text() == (
        ours / "02-pivot-root/solution/root.py"
    ).read_text()
    assert (started / "pid.py").read_text() == (ours / "03-processes/skeleton/pid.py").read_text()
    assert os.access(started / "box", os.X_OK)
    assert (started / "README.md").exists()


@pytest.mark.parametrize(
    ("given", "environment", "handout"),
    [
        ([], "C.UTF-8", "README.md"),
        ([], "ru_RU.UTF-8", "README.ru.md"),
        ([], "de_DE.UTF-8", "README.md"),
        (["--lang", "en"], "ru_RU.UTF-8", "README.md"),
        (["--lang", "ru"], "C.UTF-8", "README.ru.md"),
    ],
)
def test_start_names_the_handout_in_the_language_of_the_student(
    given: list[str],
    environment: str,
    handout: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LANGUAGE", environment)
    lab("start", "4", str(tmp_path / "mine"), *given)
    assert f"  read   {tmp_path}/mine/{handout}\n" in capsys.readouterr().out
    assert "# Lab 04: " in (tmp_path / "mine/README.md").read_text()
    assert "# Лабораторная работа 04: " in (tmp_path / "mine/README.ru.md").read_text()


def test_start_refuses_a_language_without_texts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no texts in language 'xx'"):
        lab("start", "4", str(tmp_path / "mine"), "--lang", "xx")
    assert not (tmp_path / "mine").exists()


def test_start_in_c_gives_the_earlier_labs_in_c_solved(tmp_path: Path) -> None:
    lab("start", "06", str(tmp_path / "c"), "--language", "c")  # there is no lab 05 in C
    ours = Path(folder.labs_folder())
    for name, where in {
        "Makefile": "00-chroot/skeleton-c",
        "root.c": "02-pivot-root/solution-c",
        "box.c": "06-cgroups/skeleton-c",
        "cgroup.c": "06-cgroups/skeleton-c",
    }.items():
        assert (tmp_path / "c" / name).read_text() == (ours / where / name).read_text()
    assert not list((tmp_path / "c").glob("*.py"))


def test_start_leaves_a_folder_alone_that_is_not_empty(started: Path) -> None:
    (started / "box").write_text("mine")
    with pytest.raises(Conflict, match="is not empty"):
        lab("start", "3", str(started))
    assert (started / "box").read_text() == "mine"


def test_a_folder_knows_its_lab(
    started: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(started)
    capsys.readouterr()
    lab("hint", "own-pid-namespace")
    out = capsys.readouterr().out
    assert out.startswith("own-pid-namespace (") and out.count("hint:") == 1
    lab("hint")
    assert capsys.readouterr().out.count("hint:") > 5
    with pytest.raises(NotFound, match="has no item nothing"):
        lab("hint", "nothing")


def test_a_folder_that_was_not_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"was not made by `lab start`"):
        lab("hint", "--dir", str(tmp_path))
    with pytest.raises(NotFound, match="no such folder"):
        lab("hint", "--dir", str(tmp_path / "nowhere"))
    (tmp_path / folder.MARKER_FILE).write_text("lab = ")
    with pytest.raises(UsageError, match=folder.MARKER_FILE):
        lab("hint", "--dir", str(tmp_path))


def test_hints_of_a_lab_that_is_named_want_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as refused:
        lab("hint")
    assert "--lab LAB" in refused.value.hint
    lab("hint", "--lab", "3", "own-pid-namespace")
    assert capsys.readouterr().out.count("hint:") == 1


def test_reset_puts_back_the_labs_files_and_keeps_mine(
    started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (started / "pid.py").read_text()
    (started / "pid.py").write_text("mine\n")
    (started / "notes").write_text("kept\n")
    (started / "root.py").unlink()
    capsys.readouterr()

    lab("reset", "--force", str(started))

    assert (started / "pid.py").read_text() == given
    assert (started / "pid.py.mine").read_text() == "mine\n"
    assert (started / "notes").read_text() == "kept\n"
    assert (started / "root.py").exists()
    assert "pid.py.mine" in capsys.readouterr().out
    assert sorted(p.name for p in started.glob("*.mine")) == ["pid.py.mine"]


def test_reset_asks_first(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    (started / "pid.py").write_text("mine\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    lab("reset", str(started))
    assert (started / "pid.py").read_text() == "mine\n"


# Files -------------------------------------------------------------------------------------------


def test_files_are_written_as_they_were_read(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "below").mkdir(parents=True)
    (first / "box").write_bytes(b"\0\xff")
    (first / "box").chmod(0o755)
    (first / "below/text").write_text("x")
    (first / "link").symlink_to("/etc/shadow")
    (first / "folder-link").symlink_to("/etc")
    (first / "__pycache__").mkdir()
    (first / "__pycache__/x.pyc").write_text("")
    os.mkfifo(first / "pipe")
    second.mkdir()

    Files.read(str(first)).write(str(second))

    assert sorted(os.listdir(second)) == ["below", "box", "folder-link", "link"]
    assert (second / "box").read_bytes() == b"\0\xff"
    assert os.access(second / "box", os.X_OK) and not os.access(second / "below/text", os.X_OK)
    assert os.readlink(second / "link") == "/etc/shadow"
    assert os.readlink(second / "folder-link") == "/etc"


def test_what_is_too_large_to_be_a_program_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(33 << 20)
    with pytest.raises(UsageError, match="has more than"):
        Files.read(str(tmp_path))


def test_files_lie_over_each_other() -> None:
    lower, upper = Files(), Files()
    lower.put("a", b"1")
    lower.put("b", b"2")
    upper.put("b", b"3", stat.S_IFREG | 0o755)
    both = upper.over(lower)
    assert {name: both.text(name) for name in both.names()} == {"a": "1", "b": "3"}
    assert both.is_executable("b") and lower.text("b") == "2"
