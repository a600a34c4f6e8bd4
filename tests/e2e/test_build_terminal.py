"""`build` on a terminal: a live view that ends with what was built."""

from __future__ import annotations

import sys
from pathlib import Path

import pexpect
import pytest

from support.building import context
from support.command import Minidock, command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root


def _spawn(minidock: Minidock, *arguments: str) -> pexpect.spawn:
    first, *rest = command_line()
    return pexpect.spawn(
        first, [*rest, "build", *arguments], env=environment(minidock.root), encoding="utf-8",
        timeout=patience(20), dimensions=(30, 100),
    )  # fmt: skip


def test_live_view_shows_the_steps_their_times_and_the_last_words(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN --mount=type=cache,target=/c echo working hard; "
        "until test -e /c/go; do sleep 0.1; done\n",
    )
    terminal = _spawn(minidock, folder)
    terminal.expect(r"\[\+\] Building \d+\.\ds \(\d+/\d+\)")
    terminal.expect(r"=> \[2/2\] RUN")
    terminal.expect("=> => working hard")
    minidock.ok(
        "run", "--rm", "-v", f"{_cache(minidock)}:/c", "--network", "none", busybox_image,
        "touch", "/c/go",
    )  # fmt: skip
    terminal.expect("FINISHED")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_failure_on_a_terminal_shows_the_line_below_the_view(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(tmp_path / "context", f"FROM {busybox_image}\nRUN echo oh dear; exit 5\n")
    terminal = _spawn(minidock, folder)
    terminal.expect(r"ERROR \[2/2\] RUN")
    terminal.expect("oh dear")
    terminal.expect(">>> RUN echo oh dear; exit 5")
    terminal.expect("exit code: 5")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1


def test_interrupt_key_ends_it_in_good_order(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(tmp_path / "context", f"FROM {busybox_image}\nRUN echo started; sleep 600\n")
    terminal = _spawn(minidock, folder)
    terminal.expect("=> => started")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert minidock.ok("ps", "-aq") == ""


def test_a_pipe_gets_plain_lines_and_no_rich(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY Dockerfile /\n")
    program = (
        "import sys; from minidock.cli.main import run; "
        f"run(['build', {folder!r}]); print('rich' in sys.modules, 'urllib3' in sys.modules)"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(minidock.root), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False False\n"
    assert "\x1b" not in done.stderr


def _cache(minidock: Minidock) -> str:
    """The directory of the only RUN --mount=type=cache of the store."""
    (data,) = Path(minidock.root, "build/mounts").glob("*/data")
    return str(data)
