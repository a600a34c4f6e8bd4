"""The host's Python, within reach of a container by /proc/self/exe, cannot be changed from inside.

Every program that enters a container comes from a read-only mount of the interpreter. The attack is
CVE-2019-5736's: be executed as the host's interpreter once more, keep a handle (O_PATH) on it, wait
until nobody executes it (a file that runs cannot be written: ETXTBSY), and write. What is attacked
here is a copy of the interpreter, sealed and not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.kernel.cgroup_tree import open_cgroup
from minidock.kernel.mount import clone_read_only
from minidock.paths import Store
from support import attack
from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root

MARK = "# written from inside a container"

# In the container, as the host's interpreter: keep a handle, become another program, write.
ATTACK = f"""
import os
handle = os.open("/proc/self/exe", os.O_PATH)
os.set_inheritable(handle, True)
again = '''
import os, sys, time
outcome = "never free"
for _ in range({20 * patience(10):.0f}):
    try:
        fd = os.open("/proc/self/fd/" + sys.argv[1], os.O_WRONLY | os.O_APPEND)
        os.write(fd, {MARK!r}.encode())
        outcome = "written"
        break
    except OSError as error:
        outcome = os.strerror(error.errno)
        if error.errno != 26:  # ETXTBSY: somebody still runs it
            break
        time.sleep(0.05)
open("/outcome.part", "w").write(outcome)
os.rename("/outcome.part", "/outcome")
'''
os.execv("{attack.PYTHON}", ["python", "-I", "-S", "-c", again, str(handle)])
"""

# The runtime, run by the interpreter under attack; it starts the container and ends.
RUNTIME = """
import json, os, sys
from minidock.kernel import capability
from minidock.oci import runtime_config as rc
from minidock.runtime import lifecycle
bundle, parent, *words = sys.argv[1:]
names = capability.resolve([], [])
mounts = rc.default_mounts(shm_bytes=1 << 20, writable_sys=False)
mounts += [
    {"destination": d, "type": "bind", "source": d, "options": ["rbind", "ro"]}
    for d in json.load(open(bundle + "/folders"))
]
config = {
    "ociVersion": "1.2.0",
    "process": rc.process_config(
        terminal=False, user={"uid": 0, "gid": 0}, args=words, environment=[], cwd="/",
        capabilities=names, no_new_privileges=False,
    ),
    "root": {"path": "rootfs"},
    "mounts": mounts,
    "linux": {
        "namespaces": [{"type": k} for k in ("mount", "pid", "uts", "ipc", "network", "cgroup")],
        "cgroupsPath": parent + "/box",
        "resources": {"devices": rc.default_devices()},
    },
}
json.dump(config, open(bundle + "/config.json", "w"))
made = lifecycle.create(bundle, "box", root=bundle + "/run", stdio=None, filter_cache=bundle)
lifecycle.start(made.state)
made.await_exec()
"""


@pytest.fixture
def bundle(tmp_path: Path, store: Store) -> Iterator[Path]:
    """A bundle whose rootfs has the host's Python, and a copy of the interpreter beside it."""
    rootfs = attack.Rootfs().host_python()
    rootfs.file("evil", f"#!/proc/self/exe\n{ATTACK}", mode=0o755)
    (tmp_path / "rootfs").mkdir()
    subprocess.run(["tar", "x", "-C", tmp_path / "rootfs"], input=rootfs.bytes(), check=True)
    folders = [f.split(":")[0] for f in attack.python_flags()[1::2]]
    (tmp_path / "folders").write_text(str(folders).replace("'", '"'))
    for place in ("copy", "sealed"):
        (tmp_path / place / "bin").mkdir(parents=True)
        (tmp_path / place / "pyvenv.cfg").write_text(f"home = {os.path.dirname(attack.PYTHON)}\n")
    shutil.copy(attack.PYTHON, tmp_path / "copy/bin/python3")
    (tmp_path / "sealed/bin/python3").touch()
    clone_read_only(str(tmp_path / "copy/bin/python3"), str(tmp_path / "sealed/bin/python3"))
    yield tmp_path
    group = open_cgroup(store.cgroup_parent, "box")
    group.kill_all()
    group.remove()
    subprocess.run(["umount", "-l", tmp_path / "sealed/bin/python3"], check=True)


@pytest.mark.parametrize(
    "words",
    [("/proc/self/exe", "-I", "-S", "-c", ATTACK), ("/evil",)],
    ids=["/proc/self/exe", "#!/proc/self/exe"],
)
@pytest.mark.parametrize(
    ("interpreter", "outcome"), [("sealed", "Read-only file system"), ("copy", "written")]
)
def test_interpreter_is_written_from_inside_only_if_it_is_not_sealed(
    bundle: Path, store: Store, interpreter: str, outcome: str, words: tuple[str, ...]
) -> None:
    program = f"import sys; sys.path.insert(0, {str(attack.SOURCE)!r})\n{RUNTIME}"
    python = bundle / interpreter / "bin/python3"
    subprocess.run(
        [python, "-I", "-S", "-c", program, bundle, store.cgroup_parent, *words],
        check=True, stdin=subprocess.DEVNULL, timeout=patience(20),
    )  # fmt: skip
    said = attack.wait_for(bundle / "rootfs/outcome", seconds=15)
    assert said == outcome
    content = (bundle / "copy/bin/python3").read_bytes()
    assert content.endswith(MARK.encode()) is (outcome == "written")


def test_container_s_init_and_its_exec_d_processes_come_from_a_read_only_interpreter(
    minidock: Minidock, store: Store
) -> None:
    """By /proc/self/exe a command is what executed it: where from does it come?"""
    attacker = attack.Rootfs().host_python().into(minidock, "attacker")
    look = (
        "import os; print(bool(os.statvfs('/proc/self/exe').f_flag & os.ST_RDONLY),"
        " os.readlink('/proc/self/exe'), os.stat('/proc/self/exe').st_ino)"
    )
    words = ("/proc/self/exe", "-I", "-S", "-c", look)
    found = [minidock.ok("run", "--rm", *attack.python_flags(), attacker, *words)]
    line = ("run", "-d", "--name", "box", *attack.python_flags(), attacker)
    minidock.ok(*line, *attack.python_command("import time; time.sleep(60)"))
    found.append(minidock.ok("exec", "box", *words))
    inode = os.stat(f"{store.sealed}/bin/python3").st_ino
    for line in found:
        read_only, name, number = line.split()
        assert read_only == "True" and int(number) == inode, line
    assert os.statvfs(f"{store.sealed}/bin/python3").f_flag & os.ST_RDONLY
    minidock.ok("rm", "-f", "box")
