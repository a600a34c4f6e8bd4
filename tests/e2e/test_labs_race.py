"""A student's folder that changes while root reads it and writes into it: what is outside stays.

The racer exchanges names by renameat2(RENAME_EXCHANGE) a thousand times a second, in a process of
its own: without a pause, lookups would mostly wait for it.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.errors import KernelError, UsageError
from minidock.kernel import mount
from minidock.teach.lab import reports
from minidock.teach.lab.exam import Sandbox
from minidock.teach.lab.folder import find
from minidock.teach.lab.sandbox_tree import ROOT_ID
from minidock.teach.lab.submission_files import Files, TooLarge
from minidock.teach.lab.submission_folder import act_as, create_folder
from support.command import command_line, environment
from support.patience import long, patience

pytestmark = pytest.mark.root

STUDENT = 4321
ROUNDS = long(30, 2000)
FILLERS = 1500
RACER = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
first, second = map(os.fsencode, sys.argv[1:])
print("ready", flush=True)
while True:
    libc.renameat2(-100, first, -100, second, 2)  # AT_FDCWD, RENAME_EXCHANGE
    time.sleep(0.0005)
"""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory that nothing may be written to."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "kept").write_text("kept")
    yield made
    assert {path.name: path.read_text() for path in made.iterdir()} == {"kept": "kept"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A student's folder."""
    made = tmp_path / "folder"
    made.mkdir()
    os.chown(made, STUDENT, STUDENT)
    return made


@contextmanager
def exchanged(first: Path, second: Path) -> Iterator[None]:
    """Two names, exchanged without end meanwhile."""
    racer = subprocess.Popen(
        [sys.executable, "-IS", "-c", RACER, str(first), str(second)], stdout=subprocess.PIPE
    )
    assert racer.stdout
    try:
        assert racer.stdout.readline() == b"ready\n"
        yield
        assert racer.poll() is None
    finally:
        racer.kill()
        racer.wait()
        racer.stdout.close()


def test_directory_exchanged_for_a_link_leads_nothing_outside(
    folder: Path, outside: Path, tmp_path: Path
) -> None:
    (folder / "a").mkdir()
    (folder / "a/evil").write_text("evil")
    (folder / "z").symlink_to(outside)
    for number in range(FILLERS):
        os.mkfifo(folder / f"filler{number}")
    with exchanged(folder / "a", folder / "z"):
        for number in range(ROUNDS):
            target = tmp_path / f"target{number}"
            target.mkdir()
            files = Files.read(str(folder))
            files.write(str(target))
            links = [name for name in files.names() if stat.S_ISLNK(files.mode(name))]
            assert not [f"{link}/evil" for link in links if f"{link}/evil" in files]


def test_place_writes_a_submission_as_its_own_root(folder: Path) -> None:
    files = Files()
    files.put("below/box", b"#!/bin/sh\n", stat.S_IFREG | 0o755)
    files.put("link", b"/etc/shadow", stat.S_IFLNK | 0o777)
    with Sandbox(files) as sandbox:
        lab = Path(f"/proc/{sandbox.init.pid}/root/lab")
        found = [lab, *lab.rglob("*")]
        assert len(found) == 4
        assert {path.lstat().st_uid for path in found} == {ROOT_ID}


def test_writing_follows_no_link_that_lies_in_the_folder(folder: Path, outside: Path) -> None:
    (folder / "way").symlink_to(outside)
    (folder / "file").symlink_to(outside / "kept")
    files = Files()
    files.put("file", b"new")
    files.put("way/evil", b"evil")
    with pytest.raises(KernelError):
        files.write(str(folder))
    assert not (folder / "file").is_symlink() and (folder / "file").read_text() == "new"


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["../a"], ["/a"], ["a//b"], ["."]])
def test_tree_in_memory_has_no_name_that_leads_out(names: list[str]) -> None:
    files = Files()
    with pytest.raises(UsageError):
        for name in names:
            files.put(name, b"/etc", stat.S_IFLNK | 0o777)


def test_folder_itself_is_reached_by_no_link(tmp_path: Path, folder: Path, outside: Path) -> None:
    """A submission that is a link to the solution gets no points for it."""
    (tmp_path / "submission").symlink_to(outside)
    with pytest.raises(UsageError, match="symbolic link") as refused:
        Files.read(str(tmp_path / "submission"))
    assert "realpath " in refused.value.hint


# With whose rights -------------------------------------------------------------------------------


def test_hard_link_to_a_file_of_root_is_not_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    os.link(tmp_path / "secret", folder / "box")
    with pytest.raises(UsageError, match=f"cannot be read by user {STUDENT}"):
        Files.read(str(folder))
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_lab_that_root_starts_and_resets_belongs_to_the_student(folder: Path) -> None:
    for words in (["start", "00", f"{folder}/mine/00"], ["reset", "-f", f"{folder}/mine/00"]):
        done = subprocess.run(
            [*command_line(), "lab", *words], capture_output=True, text=True, env=environment()
        )
        assert done.returncode == 0, done.stderr
        (folder / "mine/00/box").write_text("mine")
    found = [folder, *folder.rglob("*")]
    assert len(found) > 4
    assert {path.stat().st_uid for path in found} == {STUDENT}


def test_starting_a_lab_in_a_folder_exchanged_for_a_link_writes_nothing_outside(
    folder: Path, outside: Path
) -> None:
    outside.chmod(0o777)
    (folder / "mine").mkdir()
    (folder / "other").symlink_to(outside)
    files = find("00").start()
    with exchanged(folder / "mine", folder / "other"):
        for _ in range(ROUNDS):
            try:
                with create_folder(f"{folder}/mine/new") as fd:
                    files.write_into(fd)
            except UsageError as error:
                assert "symbolic link" in str(error)
            except KernelError as error:
                assert "ELOOP" in str(error) or "ENOTDIR" in str(error), error


def test_report_in_a_students_folder_is_written_with_the_students_rights(
    folder: Path, outside: Path
) -> None:
    wanted = reports.Reports()
    (folder / "report").symlink_to(outside / "kept")
    wanted.add(str(folder / "report"), reports.junit)
    (folder / "report").symlink_to(outside / "kept")
    wanted.write(find("00"), [])
    assert (folder / "report").lstat().st_uid == STUDENT
    assert os.listdir(folder) == ["report"]
    (folder / "way").symlink_to(outside)
    with pytest.raises(UsageError, match="symbolic link"):
        reports.Reports().add(str(folder / "way/report"), reports.junit)


def test_acting_as_another_gives_everything_back() -> None:
    groups = os.getgroups()
    with pytest.raises(RuntimeError), act_as(STUDENT, STUDENT):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (STUDENT, STUDENT, [])
        raise RuntimeError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)


# Limits ------------------------------------------------------------------------------------------


def test_sparse_file_is_refused_before_it_fills_the_memory(folder: Path) -> None:
    with open(folder / "large", "wb") as file:
        file.truncate(1 << 40)
    os.chown(folder / "large", STUDENT, STUDENT)
    started = time.monotonic()
    with pytest.raises(TooLarge, match="more than 32 MiB"):
        Files.read(str(folder))
    assert time.monotonic() - started < patience(10)


def test_file_that_grows_while_it_is_read_ends_at_the_limit(folder: Path) -> None:
    """Files such as /proc/PID/… report size 0; a file that is being written reports an old size."""
    grown = folder / "log"
    grown.touch()
    writer = subprocess.Popen(["sh", "-c", 'ulimit -f 200000; exec yes >"$0"', str(grown)])
    try:
        deadline = time.monotonic() + patience(20)
        with pytest.raises(TooLarge, match="more than 32 MiB"):
            while time.monotonic() < deadline:
                Files.read(str(folder))
    finally:
        writer.kill()
        writer.wait()


def test_too_many_names_and_too_deep_folders_are_refused(folder: Path) -> None:
    os.makedirs(folder / "/".join("d" * 50))
    with pytest.raises(TooLarge, match="nested deeper"):
        Files.read(str(folder))
    for number in range(2000):
        (folder / f"x{number}").mkdir()
    with pytest.raises(TooLarge, match="more than 2000 files and folders"):
        Files.read(str(folder))


def test_pipes_sockets_and_devices_are_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    os.mknod(folder / "console", stat.S_IFCHR | 0o666, os.makedev(5, 1))
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o666)
    (folder / "box").write_text("box")
    assert Files.read(str(folder)).names() == ["box"]
    os.mkfifo(folder / ".lab.toml")
    done = subprocess.run(
        [*command_line(), "lab", "hint", "--dir", str(folder)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=patience(20),
    )
    assert done.returncode == 1 and "not a regular file" in done.stderr, done


def test_what_is_mounted_in_a_submission_is_refused(folder: Path, outside: Path) -> None:
    (folder / "below").mkdir()
    mount.bind_mount(str(outside), "/", str(folder / "below"), recursive=False)
    try:
        with pytest.raises(UsageError, match="below is a mount point"):
            Files.read(str(folder))
    finally:
        mount.unmount(str(folder / "below"), 0)
