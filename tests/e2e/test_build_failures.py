"""A build that fails, or is killed: what it says, and what it leaves, which is nothing."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidock.paths import Store
from support import machine
from support.building import build, context, files
from support.command import Minidock, environment
from support.patience import patience

pytestmark = pytest.mark.root


def test_failed_command_is_reported_with_its_line_output_and_exit_code(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\n# a comment\nRUN echo before && \\\n    exit 42\nRUN true\n",
    )
    done = minidock("build", "-t", "failed", folder)
    assert done.code == 1
    assert "minidock: failed to solve: process" in done.stderr
    assert "did not complete successfully: exit code: 42" in done.stderr
    block = done.stderr[done.stderr.index("------\n > [2/3] RUN") :]
    assert block.splitlines()[1:] == [
        " > [2/3] RUN echo before &&     exit 42:",
        block.splitlines()[2],
        "------",
        "Dockerfile:3",
        "--------------------",
        "   2 |     # a comment",
        "   3 | >>> RUN echo before && \\",
        "   4 | >>>     exit 42",
        "   5 |     RUN true",
        "--------------------",
        'minidock: failed to solve: process "/bin/sh -c echo before &&     exit 42" did not '
        "complete successfully: exit code: 42",
    ]
    assert block.splitlines()[2] == "before"
    assert minidock("image", "inspect", "failed").code == 1
    _nothing_is_left(minidock)


def test_command_that_is_not_there(minidock: Minidock, busybox_image: str, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", f'FROM {busybox_image}\nRUN ["/nope"]\n')
    done = minidock("build", folder)
    assert done.code == 1
    assert 'exec: "/nope": no such file or directory' in done.stderr
    assert "exit code: 127" in done.stderr
    _nothing_is_left(minidock)


@pytest.mark.parametrize(
    ("dockerfile", "line", "words"),
    [
        ("FROM scratch\nCOPY nope /\n", 2, '"/nope": not found'),
        ("FROM scratch\nCOPY nope/*.c /\n", 2, '"/nope": not found'),
        ("FROM scratch\nRUNN x\n", 2, "unknown instruction: RUNN (did you mean RUN?)"),
        ("FROM scratch\nCOPY --from=nobody.invalid/x a /\n", 2, "nobody.invalid/x"),
        ("FROM --platform=linux/s390x scratch\n", 1, "linux/s390x is not available"),
        ("FROM scratch\nCOPY --chmod=9 a /\n", 2, "Invalid chmod parameter"),
        ("FROM scratch\nCOPY --chown=alice a /\n", 2, "unable to find user alice"),
        ("RUN true\n", 1, "no build stage in current context"),
    ],
)
def test_error_names_its_line(
    minidock: Minidock, tmp_path: Path, dockerfile: str, line: int, words: str
) -> None:
    folder = context(tmp_path / "context", dockerfile, a="", b="")
    done = minidock("build", folder)
    assert done.code == 1, str(done)
    assert f"Dockerfile:{line}\n" in done.stderr
    assert words in done.stderr
    _nothing_is_left(minidock)


def test_failure_of_one_stage_stops_the_others(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image} AS slow
RUN --mount=type=cache,target=/c touch /c/slow-runs; sleep 600
FROM {busybox_image} AS fails
RUN --mount=type=cache,target=/c until test -e /c/slow-runs; do sleep 0.1; done; exit 3
FROM scratch
COPY --from=slow / /
COPY --from=fails / /
""",
    )
    done = minidock("build", folder)
    assert done.code == 1
    assert "exit code: 3" in done.stderr
    assert "CANCELED" in done.stderr
    assert "Dockerfile:4\n" in done.stderr
    _nothing_is_left(minidock)


def test_stages_are_built_side_by_side(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """Each stage's command waits until the other one runs."""
    step = (
        "RUN --mount=type=cache,id=meet,target=/c touch /c/{mine}; "
        "until test -e /c/{other}; do sleep 0.1; done; touch /{mine}"
    )
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image} AS a
{step.format(mine="a", other="b")}
FROM {busybox_image} AS b
{step.format(mine="b", other="a")}
FROM scratch
COPY --from=a /a /
COPY --from=b /b /
""",
    )
    build(minidock, "-t", "met", folder)
    assert set(files(minidock, "met", tmp_path)) == {"a", "b"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_build_that_is_ended_leaves_nothing(
    minidock: Minidock, busybox_image: str, tmp_path: Path, number: signal.Signals
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image}
COPY Dockerfile /kept
RUN --mount=type=secret,id=s --mount=target=/src --mount=type=cache,target=/c \
    echo it runs; trap '' TERM INT; while :; do sleep 600; done
""",
    )
    process = minidock.start(
        "build", "--secret", f"id=s,src={secret}", folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    _await_line(process, b"it runs")
    assert minidock.ok("ps", "-q")
    process.send_signal(number)
    process.communicate(timeout=patience(20))
    assert process.returncode != 0
    _nothing_is_left(minidock)


def test_build_that_is_killed_while_it_copies_leaves_nothing(
    minidock: Minidock, tmp_path: Path
) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY . /\n")
    for number in range(40):
        (tmp_path / f"context/{number}").write_bytes(os.urandom(1 << 20))
    process = minidock.start("build", folder)
    deadline = time.monotonic() + patience(20)
    while not _is_copying(minidock) and process.poll() is None:
        assert time.monotonic() < deadline
    process.kill()
    process.communicate()
    _nothing_is_left(minidock)
    assert "Dockerfile" in files(minidock, build(minidock, folder), tmp_path)


_CREATES_AND_DIES = """
import os
from minidock.engine.container.create import BuildBase, create
from minidock.engine.image.images import ImageStore
from minidock.engine.store.store import Staging
from minidock.paths import Store
store = Store()
image = ImageStore(store).resolve("busybox")
with Staging(store, "build") as staging:
    upper, work = staging.path + "/upper", staging.path + "/work"
    os.mkdir(upper); os.mkdir(work)
    step = BuildBase(image.id, image.layer_directories(), upper, work, staging.path)
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"AutoRemove": True}}
    create(store, body, name=None, step=step)
    os.kill(os.getpid(), 9)
"""


def test_build_that_is_killed_before_its_step_starts_leaves_nothing(
    minidock: Minidock, busybox_image: str
) -> None:
    words = [sys.executable, "-c", _CREATES_AND_DIES]
    done = subprocess.run(words, env=environment(minidock.root))
    assert done.returncode == -signal.SIGKILL
    assert len(_remains(minidock)) == 2  # the container, and the entry of staging/
    _nothing_is_left(minidock)


def _is_copying(minidock: Minidock) -> bool:
    return bool(glob.glob(f"{minidock.root}/staging/build-*/*/upper/*"))


def _await_line(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line and b"RUN" not in line:
            return
    raise AssertionError("the build ended")


def _nothing_is_left(minidock: Minidock) -> None:
    """The next command has cleared what a build was about; nothing of it is in the kernel."""
    deadline = time.monotonic() + patience(10)
    while minidock.ok("ps", "-aq") or _remains(minidock):
        assert time.monotonic() < deadline, _remains(minidock)
        time.sleep(0.05)


def _remains(minidock: Minidock) -> list[str]:
    staged = os.listdir(f"{minidock.root}/staging")
    mounted = [mount for mount in machine.mounts() if minidock.root in mount]
    containers = [n for n in os.listdir(f"{minidock.root}/containers") if not n.startswith(".")]
    return [*staged, *mounted, *containers]


def test_full_disk_is_reported_with_the_line_and_leaves_nothing(
    store: Store, minidock: Minidock, tmp_path: Path
) -> None:
    """The store is a file system of 4 MB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", store.root], check=True)
    try:
        folder = context(tmp_path / "context", "FROM scratch\nCOPY large /\n", small="x")
        (tmp_path / "context/large").write_bytes(os.urandom(8 << 20))
        done = minidock("build", folder)
        assert done.code == 1
        assert "failed to solve: No space left on device" in done.stderr
        assert ">>> COPY large /" in done.stderr
        assert os.listdir(f"{store.root}/staging") == []
        (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY small /\n")
        build(minidock, folder)
    finally:
        subprocess.run(["umount", store.root], check=True)
