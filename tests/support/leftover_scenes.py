"""Stores by chance: what runs, what was killed, what is damaged, what is an administrator's.

    scene = Scene(store, directory, seed)
    scene.make()                 all of it; what runs and what is an administrator's is made first
    before = scene.look()        the kernel's word on what runs, and on what is the administrator's
    ... system check --repair ...
    scene.look() == before

The seed decides which parts a scene has, of how many variants each. `look` asks /proc, ip,
iptables-save and the cgroup trees; of a container it asks minidock only for its first process.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidock.engine.store.locks import owner_of
from minidock.paths import Store
from minidock.teach.lab.fault.fault import choose
from minidock.teach.lab.fault.session import FAULTS
from support import machine
from support.command import Minidock
from support.patience import await_true, patience

ECHO = "nc -ll -p 7 -e cat & exec sleep 900"
LOST = "lost"  # how the names of what is killed begin
_CHANGES = re.compile(  # in what ip and iptables-save say
    r"valid_lft \S+|preferred_lft \S+| tentative| linkdown|<[A-Z_,-]+>|state [A-Z]+|\[[0-9:]+\]"
)


class Scene:
    """A store with parts by chance.

    told: what was made, for a failure's message. running: pids of first processes, by name.
    """

    def __init__(self, store: Store, directory: Path, seed: int, image: str) -> None:
        self.store = store
        self.minidock = Minidock(store.root)
        self.directory = directory
        self.image = image
        self.chosen = random.Random(seed)
        self.told: list[str] = []
        self.running: dict[str, int] = {}
        self.lost: set[str] = set()
        self.waiting: dict[str, int] = {}  # monitors of what is between two runs, by id
        self.volumes = ["kept"]
        self.stays_damaged = False
        self.has_lab = False
        self.address = f"192.0.2.{os.getpid() % 250 + 1}"  # in each rule of the administrator's
        self._rules: list[list[str]] = []
        self._connections: list[tuple[str, socket.socket]] = []
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._theirs: list[Path] = []
        self._undo: list[Callable[[], object]] = []
        self._numbers = 0

    def make(self) -> None:
        """Networks and volumes, what runs, the administrator's; then what is left and damaged."""
        self.minidock.ok("network", "create", "net")
        self.minidock.ok("volume", "create", "kept")
        tmpfs = ("-o", "type=tmpfs", "-o", "device=tmpfs")
        self.minidock.ok("volume", "create", *tmpfs, "scratch")
        self.box(
            "base",
            [
                "-v",
                "kept:/k",
                "-v",
                "scratch:/s",
                "--ipc",
                "shareable",
                "-p",
                "127.0.0.1::7",
                "--net",
                self.chosen.choice(("bridge", "net")),
            ],
        )
        for number in range(self.chosen.randint(1, 3)):
            self.box(f"box{number}", self.flags())
        for part in self._some(RUNNING, 2):
            part(self)
        for part in self._some(STOPPED, 2):
            part(self)
        for part in self._some(THEIRS, 3):
            part(self)

    def spoil(self) -> None:
        """Kill, damage and leave; afterwards nothing of it changes by itself."""
        for part in self._some(KILLED, 3):
            part(self)
        for part in sorted(self._some(DAMAGED, 2), key=DAMAGED.index):
            part(self)

    def _some(self, parts: list[Callable[[Scene], None]], most: int) -> list[Any]:
        return self.chosen.sample(parts, self.chosen.randint(1, most))

    # --- making ----------------------------------------------------------------------------------

    def name(self, kind: str) -> str:
        """A name that nothing has yet."""
        self._numbers += 1
        return f"{kind}{self._numbers}"

    def box(self, name: str, flags: list[str]) -> str:
        """A container that runs; with a connection through its port where it publishes one."""
        published = "-p" in flags
        self.told.append(f"run {name} {' '.join(flags)}")
        command = ECHO if published else "exec sleep 900"
        made = self.minidock.ok("run", "-d", "--name", name, *flags, self.image, "sh", "-c",
                                command)  # fmt: skip
        if name.startswith(LOST):
            self.lost.add(made)
        else:
            self.running[name] = int(self.minidock.ok("inspect", "-f", "{{.State.Pid}}", name))
        if published and not name.startswith(LOST):
            self._connect(name)
        return made

    def _connect(self, name: str) -> None:
        port = int(self.minidock.ok("port", name, "7").splitlines()[0].rpartition(":")[2])
        deadline = time.monotonic() + patience(10)
        while True:  # until the server in the container listens
            connection = socket.create_connection(("127.0.0.1", port), timeout=patience(5))
            try:
                connection.sendall(b"hello")
                if connection.recv(5) == b"hello":
                    break
            except ConnectionError:
                pass
            connection.close()
            assert time.monotonic() < deadline, f"nothing answers at {name}'s port"
            time.sleep(0.02)
        self._connections.append((name, connection))

    def flags(self) -> list[str]:
        """Of a run by chance."""
        one = self.chosen.choice
        net = one(["bridge", "net", "none", "host", "container:base"])
        flags = ["--net", net]
        if net in ("bridge", "net"):
            flags += one([[], ["-p", "127.0.0.1::7"], ["-p", "7"]])
        flags += one([[], ["--pid", "container:base"], ["--pid", "host"]])
        flags += one([[], ["--ipc", "container:base"], ["--ipc", "host"]])
        flags += one([[], ["--rm"], ["--restart", "always"], ["--restart", "on-failure:3"],
                      ["--restart", "unless-stopped"]])  # fmt: skip
        flags += one([[], ["-v", "kept:/k"], ["-v", "scratch:/s"], ["-v", "/anonymous"],
                      ["-v", f"{self.directory}:/d"], ["--tmpfs", "/t"],
                      ["--storage-opt", "size=20m"]])  # fmt: skip
        flags += one([[], ["--privileged"], ["--read-only"], ["--memory", "64m"], ["-u", "7:8"]])
        return flags

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """A command that stays; its standard input is a pipe."""
        self.told.append(" ".join(words))
        program = self.minidock.start(*words, stderr=subprocess.DEVNULL)
        self._programs[name] = program
        return program

    def wait_for(self, program: str) -> int:
        """The pid of a program, once it runs in one of the store's cgroups."""
        deadline = time.monotonic() + patience(30)
        while True:
            for pids in self.cgroups().values():
                for pid in pids:
                    if _command(pid) == program:
                        return int(pid)
            assert time.monotonic() < deadline, f"{program} does not begin"
            time.sleep(0.05)

    def rule(self, *words: str) -> None:
        """A rule of the administrator's."""
        self.told.append("iptables " + " ".join(words))
        subprocess.run(["iptables", "-w", *words], check=True)
        gone = ["-D" if word in ("-A", "-I") else word for word in words]
        self.undone_by(lambda: subprocess.run(["iptables", "-w", *gone], check=False))

    def theirs(self, path: Path) -> None:
        """A file or directory of the administrator's."""
        self._theirs.append(path)

    def undone_by(self, act: Callable[[], object]) -> None:
        self._undo.append(act)

    def undo(self) -> None:
        """End what is not minidock's."""
        for _, connection in self._connections:
            connection.close()
        self._connections.clear()
        for program in self._programs.values():
            program.kill()
            program.wait()
        self._programs.clear()
        while self._undo:
            self._undo.pop()()

    # --- looking ---------------------------------------------------------------------------------

    def cgroups(self) -> dict[str, list[str]]:
        """Each cgroup of the store, with its processes; those of what was killed left out."""
        found = {}
        for path in sorted(machine.cgroups()):
            if f"/{self.store.cgroup_parent}/" in f"{path}/" and not self._is_lost(path):
                try:
                    found[path] = Path(path, "cgroup.procs").read_text().split()
                except OSError:
                    continue  # a named tree has none at its root, or it has just gone
        return found

    def _is_lost(self, text: str) -> bool:
        return any(each[:11] in text for each in (*self.lost, *self.waiting))

    def look(self) -> dict[str, Any]:
        """What runs, and what is the administrator's, in the kernel's words."""
        self._await_pauses()
        cgroups = self.cgroups()
        pids = {int(pid) for inside in cgroups.values() for pid in inside}
        pids |= set(self.running.values())
        spaces = {os.readlink(f"/proc/{pid}/ns/net"): pid for pid in sorted(pids)}
        return {
            "cgroups": cgroups,
            "processes": {pid: _facts(pid) for pid in sorted(pids)},
            "monitors": sorted(
                each for each in machine.processes()
                if self.store.root in each and "engine.monitor.main" in each
                and not self._is_lost(Path(f"/proc/{each.split()[0]}/cgroup").read_text())
            ),
            "addresses": {
                space: _said("nsenter", "-t", str(pid), "-n", "sh", "-c",
                             "ip -o link; ip -o address; ip route; ip neighbour show nud permanent")
                for space, pid in spaces.items() if space != os.readlink("/proc/self/ns/net")
            },
            "links": self._links(),
            "rules": self.rules(),
            "mounts": sorted(m for m in machine.mounts()
                             if (self.store.root in m or str(self.directory) in m)
                             and not self._is_lost(m)),
            "programs": {name: each.poll() for name, each in self._programs.items()},
            "theirs": {str(path): _content(path) for path in self._theirs},
            "volumes": [_tree(Path(self.store.volumes, name, "_data")) for name in self.volumes],
            "inodes": [os.stat(f"{self.store.volume(name)}/_data").st_ino for name in self.volumes],
            "between runs": {pid: _facts(pid)[:3] for pid in self.waiting.values()},
        }  # fmt: skip

    def _links(self) -> list[str]:
        """The store's bridges and the administrator's, with their ports, addresses and routes."""
        links = _said("ip", "-o", "link")
        owners = (f"minidock {self.store.root}", "alias theirs")
        names = [line.split()[1].strip(":") for line in links if line.strip("\\ ").endswith(owners)]
        lines = links + _said("ip", "-o", "address") + _said("ip", "route")
        return [line for line in lines
                if any(re.search(rf"\b{name}\b(?!-)", line) for name in names)
                and not self._is_lost(line)]  # fmt: skip

    def rules(self) -> list[str]:
        """The firewall's rules, in their order: the store's, but those of what was killed, and the
        administrator's."""
        lines, table = [], ""
        for program in ("iptables-save", "ip6tables-save"):
            for line in _said(program):
                table = line if line[:1] == "*" else table
                lines += [f"{program} {table} {line}"] if line[:2] == "-A" else []
        marks = {*re.findall(r"md[0-9a-f]{8}(?:-[0-9a-f]+)?", " ".join(self._links()))}
        marks |= {self.store.bridge, self.address}
        return [x for x in lines if any(m in x for m in marks) and not self._is_lost(x)]

    def restarts(self, container_id: str) -> int:
        """How often a container was started again."""
        return int(self.minidock.ok("inspect", "-f", "{{.RestartCount}}", container_id))

    def _await_pauses(self) -> None:
        """Until each that is started again and again is between two runs: more than a second."""
        deadline = time.monotonic() + patience(30)
        for each in self.waiting:
            while self.minidock.ok("inspect", "-f", "{{.State.Restarting}}", each) != "true":
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def answers(self) -> list[str]:
        """The names of those whose open connection is not answered any more."""
        silent = []
        for name, connection in self._connections:
            try:
                connection.sendall(b"again")
                if connection.recv(5) != b"again":
                    silent.append(name)
            except OSError as error:
                silent.append(f"{name}: {error}")
        return silent


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return words.decode(errors="replace").replace("\0", " ").strip()


def _facts(pid: int) -> tuple[str, ...]:
    """What stays of a process: since when it runs, whose child, its mounts, cgroups, namespaces."""
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    space = [f"{kind} {os.readlink(f'/proc/{pid}/ns/{kind}')}" for kind in
             sorted(os.listdir(f"/proc/{pid}/ns"))]  # fmt: skip
    is_hosts = os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    mounts = "" if is_hosts else Path(f"/proc/{pid}/mountinfo").read_text()
    root = os.stat(f"/proc/{pid}/root")
    return (_command(str(pid)), stat[19], stat[1], mounts, *space, f"{root.st_dev} {root.st_ino}",
            Path(f"/proc/{pid}/cgroup").read_text())  # fmt: skip


def _said(*words: str) -> list[str]:
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [_CHANGES.sub("", line) for line in done.stdout.splitlines()]


def _content(path: Path) -> object:
    return path.read_text() if path.is_file() else _tree(path)


def _tree(top: Path) -> list[str]:
    found = []
    for folder, _, names in os.walk(top):
        found += [f"{folder}/{name} {os.lstat(f'{folder}/{name}').st_size}" for name in names]
    return sorted(found)


# --- what runs -----------------------------------------------------------------------------------


def _exec_session(scene: Scene) -> None:
    scene.start(scene.name("exec"), "exec", "-i", "base", "sleep", "801")
    scene.wait_for("sleep 801")


def _attached(scene: Scene) -> None:
    scene.start(scene.name("run"), "run", "--rm", "-i", "--name", scene.name("attached"),
                scene.image, "sleep", "802")  # fmt: skip
    scene.wait_for("sleep 802")


def _abandoned(scene: Scene) -> None:
    """The command of a container is killed; the container stays."""
    words = ("run", "-i", "--name", scene.name("abandoned"), scene.image, "sleep", "803")
    program = scene.start("abandoned", *words)
    scene.wait_for("sleep 803")
    program.kill()
    program.wait()


def _abandoned_exec(scene: Scene) -> None:
    program = scene.start("abandoned exec", "exec", "base", "sleep", "804")
    scene.wait_for("sleep 804")
    program.kill()
    program.wait()


def _paused(scene: Scene) -> None:
    name = scene.name("paused")
    scene.box(name, ["--net", "net", "--restart", "always"])
    scene.minidock.ok("pause", name)


def _build(scene: Scene) -> None:
    program = scene.start("build", "build", "-q", "-")
    assert program.stdin is not None
    program.stdin.write(b"FROM busybox\nRUN echo one > /one\nRUN sleep 805\n")
    program.stdin.close()
    scene.wait_for("sleep 805")


def _script(scene: Scene) -> None:
    """A script that runs, by the rules of a shell."""
    _run_script(scene, "script", "sleep 806")


def _run_script(scene: Scene, name: str, command: str) -> subprocess.Popen[bytes]:
    file = scene.directory / f"{name}.sh"
    scene.told.append(f"script {command}")
    words = ("--name", scene.name("scripted"), scene.image, *command.split())
    file.write_text(scene.minidock.ok("script", "run", *words))
    program = subprocess.Popen(
        ["sh", file], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "BOX": f"{scene.directory}/{name}"},
    )  # fmt: skip
    scene.undone_by(lambda: _end_script(program, file, f"{scene.directory}/{name}"))
    deadline = time.monotonic() + patience(30)
    while not (found := _running(command)):
        assert program.poll() is None and time.monotonic() < deadline, "the script does not begin"
        time.sleep(0.05)
    if name == "script":
        scene.running[name] = found[0]
    return program


def _running(command: str) -> list[int]:
    return [int(each) for each in os.listdir("/proc") if each.isdigit() and _command(each) ==
            command]  # fmt: skip


def _end_script(program: subprocess.Popen[bytes], file: Path, box: str) -> None:
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGTERM)
        program.wait(patience(30))
    clean = ["sh", str(file), "--clean"]
    subprocess.run(clean, env={**os.environ, "BOX": box}, capture_output=True, check=True)


def _nested(scene: Scene) -> None:
    """Namespaces, mounts and a bridge's port inside of a container."""
    name = scene.name("nested")
    scene.told.append("nested")
    scene.minidock.ok("run", "-d", "--privileged", "--name", name, scene.image, "sh", "-c",
                      "mount -t tmpfs x /mnt; unshare -mpf sleep 807; :")  # fmt: skip
    scene.wait_for("sleep 807")
    scene.running[name] = int(scene.minidock.ok("inspect", "-f", "{{.State.Pid}}", name))


def _without(scene: Scene) -> None:
    """Its mounts are the host's."""
    words = ("--without", "mount", "--yes-in-a-vm")
    scene.box(scene.name("without"), ["--net", "net", *words])


def _lab(scene: Scene) -> None:
    """A shop with a fault, which may be a broken network, mount or volume.

    Not one with an immutable directory: no command but the lab's own removes that.
    """
    faults = {str(n): choose(FAULTS, str(n)) for n in scene.chosen.sample(range(1000), 200)}
    seed = next(n for n, each in faults.items() if not each.shared and "chattr" not in each.inject)
    scene.told.append(f"lab fault {seed}: {faults[seed].name}")
    scene.minidock.ok("lab", "fault", seed, timeout_seconds=120)
    scene.has_lab = True


RUNNING = [_exec_session, _attached, _abandoned, _abandoned_exec, _paused, _build, _script, _nested,
           _without, _lab]  # fmt: skip

# --- what does not run ---------------------------------------------------------------------------


def _created(scene: Scene) -> None:
    scene.minidock.ok(
        "create", "--name", scene.name("created"), *scene.flags(), scene.image, "true"
    )


def _ended(scene: Scene) -> None:
    name = scene.name("ended")
    scene.minidock.ok("run", "--name", name, "-v", "scratch:/s", "-p", "7", scene.image, "true")


def _pausing(scene: Scene) -> None:
    """Between two of its runs: only a monitor is there."""
    name = scene.name("again")
    scene.told.append("between two runs")
    made = scene.minidock.ok("run", "-d", "--name", name, "--restart", "always", "--net", "none",
                             "-v", "scratch:/s", scene.image, "sh", "-c", "exit 3")  # fmt: skip
    deadline = time.monotonic() + patience(30)
    while scene.restarts(made) < 4:  # each pause is twice as long as the one before
        assert time.monotonic() < deadline
        time.sleep(0.05)
    scene.waiting[made] = owner_of(scene.store.container(made).monitor_lock)


def _sized(scene: Scene) -> None:
    name = scene.name("sized")
    scene.minidock.ok("run", "--name", name, "--storage-opt", "size=20m", scene.image, "true")


def _without_volume_document(scene: Scene) -> None:
    """Volumes that have lost their document: with files, or empty and mounted by a container."""
    scene.told.append("volumes without volume.json")
    full, empty, live = scene.name("full"), scene.name("empty"), scene.name("live")
    scene.minidock.ok("volume", "create", full)
    Path(scene.store.volume(full), "_data", "x").write_text("x")
    scene.minidock.ok("create", "--name", scene.name("mounts"), "-v", f"{empty}:/v", scene.image,
                      "true")  # fmt: skip
    scene.box(scene.name("mounts"), ["--net", "none", "-v", f"{live}:/v"])
    for name in (full, empty, live):
        os.unlink(f"{scene.store.volume(name)}/volume.json")
        scene.volumes.append(name)


STOPPED = [_created, _ended, _sized, _pausing, _without_volume_document]

# --- an administrator's --------------------------------------------------------------------------


def _rule_in_our_chain(scene: Scene) -> None:
    chain = f"MINIDOCK-{scene.store.bridge}"
    if any(line.startswith(f"-A {chain} ") for line in scene.rules()):
        to = ("-p", "tcp", "--dport", "7", "-j", "DNAT", "--to-destination", f"{scene.address}:7")
        scene.rule("-t", "nat", "-A", chain, *to)


def _rule_in_forward(scene: Scene) -> None:
    scene.rule("-I", "FORWARD", "-s", scene.address, "-j", "DROP")
    scene.rule("-A", "INPUT", "-s", scene.address, "-m", "comment", "--comment",
               "minidock lets nobody in", "-j", "REJECT")  # fmt: skip


def _other_bridge(scene: Scene) -> None:
    name = f"adm{os.getpid() % 10000}"
    scene.told.append("a bridge")
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    scene.undone_by(lambda: subprocess.run(["ip", "link", "delete", name], check=False))
    subprocess.run(["ip", "link", "set", name, "alias", "theirs"], check=True)
    subprocess.run(["ip", "addr", "add", f"{scene.address}/32", "dev", name], check=True)


def _veth_on_our_bridge(scene: Scene) -> None:
    name = f"vadm{os.getpid() % 10000}"
    if not os.path.isdir(f"/sys/class/net/{scene.store.bridge}"):
        return
    scene.told.append("a veth on the bridge")
    words = ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"]
    subprocess.run(words, check=True)
    scene.undone_by(lambda: subprocess.run(["ip", "link", "delete", name], check=False))
    subprocess.run(["ip", "link", "set", name, "master", scene.store.bridge], check=True)


def _files(scene: Scene) -> None:
    scene.told.append("files beside ours")
    for path in beside_ours(scene.store):
        scene.theirs(path)


def beside_ours(store: Store) -> list[Path]:
    """Files and directories of somebody's, in the store's directories; made, and returned."""
    found = []
    for directory in (store.root, store.containers, store.layers, store.blobs, store.networks,
                      store.names, store.build_steps, store.build_mounts, store.lab, store.run,
                      store.volumes, f"{store.volumes}/kept",
                      f"{store.volumes}/kept/_data"):  # fmt: skip
        Path(directory).mkdir(parents=True, exist_ok=True)
        for path in (Path(directory, "README"), Path(directory, "notes", "README")):
            path.parent.mkdir(exist_ok=True)
            path.write_text("leave this")
        found += [Path(directory, "README"), Path(directory, "notes")]
    for name in ("images.json.bak", "images.json.2.new.bak"):
        Path(store.root, name).write_text("{")
        found.append(Path(store.root, name))
    return found


def _mount(scene: Scene) -> None:
    """A file system beside the containers' directories, and one in a volume."""
    scene.told.append("a mount in a volume")
    point = Path(scene.store.volumes, "kept/_data/disk")
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "theirs", point], check=True)
    scene.undone_by(lambda: subprocess.run(["umount", "-l", point], check=False))
    beside = Path(scene.store.root, "disk")
    beside.mkdir()
    scene.theirs(beside)
    subprocess.run(["mount", "-t", "tmpfs", "theirs", beside], check=True)
    scene.undone_by(lambda: subprocess.run(["umount", "-l", beside], check=False))


def _cgroup(scene: Scene) -> None:
    """One beside the containers', with a process."""
    scene.told.append("a cgroup beside ours")
    trees = [c for c in machine.cgroups() if c.endswith(f"/{scene.store.cgroup_parent}")]
    tree = next((t for t in trees if t.startswith("/sys/fs/cgroup/pids/")), trees[0])
    os.mkdir(f"{tree}/administrator")
    program = subprocess.Popen(["sleep", "808"], start_new_session=True)
    Path(f"{tree}/administrator/cgroup.procs").write_text(str(program.pid))
    scene.running["administrator"] = program.pid

    def end() -> None:
        program.kill()
        program.wait()
        os.rmdir(f"{tree}/administrator")

    scene.undone_by(end)


THEIRS = [_rule_in_our_chain, _rule_in_forward, _other_bridge, _veth_on_our_bridge, _files, _mount,
          _cgroup]  # fmt: skip

# --- what was killed -----------------------------------------------------------------------------


def _kill_monitor(scene: Scene, container_id: str) -> None:
    pid = int(scene.minidock.ok("inspect", "-f", "{{.State.Pid}}", container_id))
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    machine.kill_and_wait(int(stat[1]))


def _lost_monitor(scene: Scene) -> None:
    _kill_monitor(scene, scene.box(scene.name(LOST), scene.flags()))


def _lost_directory(scene: Scene) -> None:
    """A monitor is killed, and somebody removes its container's directory."""
    made = scene.box(scene.name(LOST), scene.flags())
    _kill_monitor(scene, made)
    home = scene.store.container(made).home
    scene.told.append("rm -rf its directory")
    machine.unmount_below(home)
    shutil.rmtree(home)


def _lost_build(scene: Scene) -> None:
    if "build" in scene._programs:
        return
    program = scene.start("lost-build", "build", "-q", "-")
    assert program.stdin is not None
    program.stdin.write(b"FROM busybox\nRUN echo two > /two\nRUN sleep 809\n")
    program.stdin.close()
    pid = scene.wait_for("sleep 809")
    cgroup = Path(f"/proc/{pid}/cgroup").read_text()
    scene.lost |= set(re.findall(r"[0-9a-f]{64}", cgroup))
    program.kill()
    program.wait()


def _lost_script(scene: Scene) -> None:
    program = _run_script(scene, "lost-script", "sleep 810")
    (pid,) = _running("sleep 810")
    ids = set(re.findall(r"[0-9a-f]{64}", Path(f"/proc/{pid}/cgroup").read_text()))
    scene.lost |= ids
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    records = [f"/run/minidock-script-{each}" for each in ids]  # gone when its guard has finished
    await_true(lambda: not any(map(os.path.exists, records)), "its guard does not end", seconds=30)


def _lost_command(scene: Scene) -> None:
    """A command is killed at any moment of its way."""
    name = scene.name("cut")
    words = scene.chosen.choice([
        ("run", "-d", "--name", f"{name}", "-p", "7", scene.image, "true"),
        ("create", "--name", name, "-v", f"{name}:/v", scene.image, "true"),
        ("volume", "create", name),
        ("network", "create", name),
        ("commit", "base", name),
        ("cp", "base:/bin", str(scene.directory / name)),
        ("exec", "base", "true"),
    ])  # fmt: skip
    program = scene.start(name, *words)
    time.sleep(scene.chosen.uniform(0.05, 0.4))  # at any moment of its way
    program.kill()
    program.wait()
    time.sleep(1)  # a monitor that it had begun goes on, and ends


KILLED = [_lost_monitor, _lost_monitor, _lost_directory, _lost_build, _lost_script, _lost_command]

# --- what is damaged -----------------------------------------------------------------------------


def _cut(scene: Scene, path: str) -> None:
    scene.told.append(f"cut {path}")
    text = Path(path).read_bytes()
    Path(path).write_bytes(text[: scene.chosen.randrange(len(text) - 2)])


def _damaged_document(scene: Scene) -> None:
    """A container that does not run has a document that nobody can read."""
    made = scene.minidock.ok("create", "--name", scene.name("damaged"), scene.image, "true")
    _cut(scene, scene.store.container(made).document)


def _damaged_running(scene: Scene) -> None:
    scene.stays_damaged = True
    _cut(scene, scene.store.container(_id(scene, "base")).document)


def _damaged_state(scene: Scene) -> None:
    _cut(scene, scene.store.container(_id(scene, "base")).state)


def _damaged_config(scene: Scene) -> None:
    scene.stays_damaged = True
    _cut(scene, scene.store.container(_id(scene, "base")).config)


def _damaged_network(scene: Scene) -> None:
    """Of one that somebody runs on; without any, it would go."""
    if scene.waiting:
        return  # a restart that fails meanwhile is the last one, as Docker's is
    scene.box(scene.name("on-it"), ["--net", "net"])
    scene.stays_damaged = True
    _cut(scene, scene.store.network("net"))


def _damaged_volume(scene: Scene) -> None:
    scene.minidock.ok("volume", "create", "cut")
    Path(scene.store.volume("cut"), "_data", "x").write_text("x")
    _cut(scene, f"{scene.store.volume('cut')}/volume.json")


def _damaged_images(scene: Scene) -> None:
    if scene.waiting:
        return  # as with networks
    _cut(scene, scene.store.images)


def _damaged_step(scene: Scene) -> None:
    os.makedirs(scene.store.build_steps, exist_ok=True)
    Path(scene.store.build_step("b" * 64)).write_text("{")


def _id(scene: Scene, name: str) -> str:
    return os.readlink(scene.store.name(name))


# In this order: with a damaged images.json, or network, nothing is made any more.
DAMAGED = [_damaged_document, _damaged_network, _damaged_volume, _damaged_running, _damaged_state,
           _damaged_config, _damaged_images, _damaged_step]  # fmt: skip
