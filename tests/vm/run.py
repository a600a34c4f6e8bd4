"""`make vm-test`: the kernel's and the e2e tests in a machine of their own, with cgroup v2.

    run.py [--arch amd64|arm64] [--] [pytest's arguments]

Makes the image if it is not there (vagrant/image/cached), carries the source tree in as it is, runs
pytest there, and brings back to build/vm/<arch>:

    junit.xml  pytest.log  journal.log     of the tests; the guest's journal
    console.log                            what the machine said while it came up

Exit codes: pytest's own. 125: there is no image, or twice no machine. A machine that never came up
or ended without a result is tried once more; a test that failed is not.

Which tests run there, and which do not and why: tests/support/selection.py; in a machine of another
architecture than this one's, those of smoke.py.
"""

from __future__ import annotations

import argparse
import io
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from machine import Lost, Machine
from smoke import SMOKE

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LIMIT_SECONDS = 1800
ALL_SECONDS = 3600  # all that belongs here, emulated on a busy machine; or what no KVM can help
NO_MACHINE = 125


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests in a machine with cgroup v2.")
    parser.add_argument("--arch", default=native(), choices=("amd64", "arm64"))
    parser.add_argument(
        "--limit",
        type=float,
        help=f"seconds; then it is off ({LIMIT_SECONDS}; for all: {ALL_SECONDS})",
    )
    parser.add_argument("arguments", nargs="*", help="pytest's; none: all tests that belong here")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and clean up

    image = image_of(asked.arch)
    if image is None:
        return NO_MACHINE
    ours = asked.arch == native()
    limit = asked.limit or (LIMIT_SECONDS if ours and asked.arguments else ALL_SECONDS)
    out = REPOSITORY / "build/vm" / asked.arch
    tests = ["tests/kernel", "tests/e2e"] if ours else SMOKE
    arguments = asked.arguments or ["-n", "2", "--dist", "loadgroup", "-q", *tests]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minidock-vm-", dir="/var/tmp") as work:
        source = Path(work) / "source.tar"
        pack(source, arguments)
        for attempt in (1, 2):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            machine = Machine(image, arch=asked.arch, log=out / "console.log")
            try:
                code = machine.run(source, results=out, seconds=limit, line=say)
                break
            except Lost as lost:
                say(f"vm: {lost}; its console: {out}/console.log")
                if attempt == 2:
                    return NO_MACHINE
                say("vm: tried once more")
    say(summary(out / "junit.xml", code, time.monotonic() - started))
    return code


def native() -> str:
    """This machine's architecture, by Debian's name."""
    done = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def image_of(arch: str) -> Path | None:
    """The image's directory; None where it could not be made, and why has been said."""
    for _ in range(2):  # a mirror that does not answer is no failed test
        done = subprocess.run(
            [REPOSITORY / "vagrant/image/cached", "--arch", arch], stdout=subprocess.PIPE, text=True
        )
        if done.returncode == 0:
            return Path(done.stdout.strip())
    return None


def pack(target: Path, arguments: list[str]) -> None:
    """The job as a tar: the tree without what git ignores, pytest's arguments, the program."""
    with tarfile.open(target, "w") as tar:
        for name in source_files():
            tar.add(REPOSITORY / name, f"source/{name}", recursive=False)
        words = "".join(f"{word}\n" for word in arguments).encode()
        member = tarfile.TarInfo("arguments")
        member.size = len(words)
        tar.addfile(member, io.BytesIO(words))
        tar.add(HERE / "job", "job")


def source_files() -> list[str]:
    """Every file that git has, or would take; outside of git, all that is not made by a tool."""
    listed = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
    )
    if listed.returncode == 0:
        names = sorted(set(listed.stdout.decode().split("\0")) - {""})
    else:
        unwanted = {".git", ".venv", "build", "__pycache__"}
        found = (p.relative_to(REPOSITORY) for p in REPOSITORY.rglob("*"))
        names = sorted(str(p) for p in found if not unwanted & set(p.parts))
    return [name for name in names if (REPOSITORY / name).is_file()]


def summary(junit: Path, code: int, seconds: float) -> str:
    """One line for the whole run."""
    if not junit.exists():
        return f"vm: pytest ended with {code} and wrote no junit.xml, after {seconds:.0f} s"
    suite = next(ElementTree.parse(junit).getroot().iter("testsuite"))
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return (
        f"vm: {passed} passed, {failed} failed, {count['skipped']} skipped in "
        f"{float(suite.get('time', 0)):.0f} s; {seconds:.0f} s with the machine; {junit.parent}"
    )


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
