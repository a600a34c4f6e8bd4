"""The page's packets: the command that is run is this minidock, however it was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
sys.path[:0] = {path!r}
from minidock.paths import Store
from minidock.teach.look.live.packet import Packets
print(Packets(Store({root!r}))._run(["--help"]))
"""


def test_it_is_found_by_the_path_of_this_process(tmp_path: Path) -> None:
    """A Python that finds minidock only by the path that its starter has set."""
    path = [each for each in sys.path if each.endswith(("-packages", "/src"))]
    program = PROGRAM.format(path=path, root=str(tmp_path))
    base = Path(sys.executable).resolve()  # outside the virtual environment
    done = subprocess.run(
        [base, "-I", "-S", "-c", program],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert "minidock packet" in done.stdout, done.stderr
