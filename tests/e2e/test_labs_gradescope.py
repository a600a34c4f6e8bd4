"""labs/gradescope: what Gradescope hands over is graded there, or by a machine of the course."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest

from minidock.teach.lab import folder
from support.command import REPOSITORY, command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root

SCRIPTS = REPOSITORY / "labs/gradescope"
FAILED = 125


class Autograder:
    """/autograder, elsewhere; `minidock` and `ssh` are what `programs` holds."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for name in ("source", "submission", "results", "programs", "temporary"):
            (top / name).mkdir()
        (top / "source/lab").write_text("0\n")
        self.program("minidock", f'exec {shlex.join(command_line())} "$@"')

    def program(self, name: str, script: str) -> None:
        """Put a program of that name before all others."""
        path = self.top / "programs" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(
        self, script: str, *, stdin: bytes = b"", **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of the two scripts to its end."""
        return subprocess.run(
            [str(SCRIPTS / script)],
            input=stdin,
            capture_output=True,
            env={
                **environment(),
                "PATH": f"{self.top}/programs:{os.environ['PATH']}",
                "AUTOGRADER": str(self.top),
                "TMPDIR": f"{self.top}/temporary",
                **variables,
            },
            timeout=patience(120),
            check=False,
        )

    @property
    def result(self) -> dict[str, float]:
        """What Gradescope would read."""
        found: dict[str, float] = json.loads((self.top / "results/results.json").read_text())
        return found


@pytest.fixture
def autograder(tmp_path: Path) -> Autograder:
    made = Autograder(tmp_path)
    folder.find("0").solution().write(str(tmp_path / "submission"))
    return made


def test_a_submission_is_graded_in_its_place(autograder: Autograder) -> None:
    done = autograder.run("run_autograder")
    assert done.returncode == 0, done.stderr
    assert autograder.result["score"] == 100
    assert os.listdir(autograder.top / "results") == ["results.json"]


def test_a_grader_that_fails_leaves_no_result(autograder: Autograder) -> None:
    for program in ("exit 125", "kill -9 $$"):
        autograder.program("minidock", program)
        assert autograder.run("run_autograder").returncode != 0
        autograder.program("ssh", f"echo half a result; {program}")
        assert autograder.run("run_autograder", REMOTE="root@course").returncode == FAILED
        assert os.listdir(autograder.top / "results") == []


def test_where_a_container_may_not_make_cgroups_there_is_no_result(autograder: Autograder) -> None:
    script = (
        "awk '$3 ~ /^cgroup/ { print $2 }' /proc/mounts | xargs -n 1 mount -o remount,bind,ro\n"
        f'exec {shlex.join(command_line())} "$@"'
    )
    autograder.program("read-only", script)
    autograder.program("minidock", f'exec unshare -m {autograder.top}/programs/read-only "$@"')
    done = autograder.run("run_autograder")
    assert done.returncode == FAILED, done.stderr
    assert b"--privileged" in done.stderr
    assert os.listdir(autograder.top / "results") == []


def test_a_machine_of_the_course_grades_for_it(autograder: Autograder) -> None:
    autograder.program(
        "ssh",
        # ssh -i KEY -o BatchMode=yes -o UserKnownHostsFile=FILE root@course LAB
        'test "$7" = root@course || exit 255\n'
        f'SSH_ORIGINAL_COMMAND="$8" exec {SCRIPTS}/grade_submission',
    )
    (autograder.top / "source/remote").write_text("root@course\n")
    done = autograder.run("run_autograder")
    assert done.returncode == 0, done.stderr
    assert autograder.result["score"] == 100


def test_the_key_of_the_autograder_runs_nothing_else(autograder: Autograder) -> None:
    autograder.program("minidock", "touch $AUTOGRADER/ran")
    for words in ("sh", "0; touch $AUTOGRADER/ran", "../../x", "0 1", "$(id)"):
        done = autograder.run("grade_submission", SSH_ORIGINAL_COMMAND=words)
        assert (done.returncode, done.stdout) == (FAILED, b""), words
    assert autograder.run("grade_submission").returncode != 0
    assert not (autograder.top / "ran").exists()


def test_a_hostile_submission_writes_nowhere_else(autograder: Autograder) -> None:
    autograder.program("minidock", "exit 125")
    target = autograder.top / "target"
    target.mkdir()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(target)
        tar.addfile(link)
        for name in ("way/evil", f"{target}/evil", f"../../..{target}/evil"):
            tar.addfile(tarfile.TarInfo(name))
    done = autograder.run("grade_submission", stdin=archive.getvalue(), SSH_ORIGINAL_COMMAND="0")
    assert done.returncode != 0 and done.stdout == b""
    assert os.listdir(target) == []
    assert os.listdir(autograder.top / "temporary") == []
