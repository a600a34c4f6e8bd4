"""The bench's laboratory: minidock, docker and podman side by side, each in directories of its own.

minidock is installed by install.sh into the laboratory, as a user has it. dockerd has its defaults
(a bridge, iptables); podman runs with --runtime runc, as dockerd does. When the bench ends, the
laboratory takes everything away, and says what it could not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "tests")]

from minidock.paths import DEFAULT_ROOT, Store  # noqa: E402
from support import docker_daemon, machine, stores  # noqa: E402


class Lab:
    """The engines' command lines, as lists of words: `minidock`, `docker`, `podman`, `runc`, …"""

    def __init__(self) -> None:
        self.before = machine.snapshot()
        self.home = Path(tempfile.mkdtemp(prefix="mdb-", dir="/var/tmp"))
        self.bundle = self.home / "bundle"
        self.store = Store(str(self.home / "store"))
        self.environment = {**os.environ, "MINIDOCK_ROOT": self.store.root}
        self.podman_run = f"/run/mdb-podman-{os.getpid()}"

    def __enter__(self) -> Lab:
        try:
            self._set_up()
        except BaseException:
            self._take_down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._take_down()

    def output(self, *words: str | Path, stdin: bytes | None = None) -> str:
        """Run a command that must succeed; returns its stdout."""
        done = subprocess.run(words, input=stdin, env=self.environment, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    @contextmanager
    def default_store(self) -> Iterator[None]:
        """Run commands without a MINIDOCK_ROOT; what that leaves in /run is removed."""
        del self.environment["MINIDOCK_ROOT"]
        try:
            yield
        finally:
            self.environment["MINIDOCK_ROOT"] = self.store.root
            default = Store(DEFAULT_ROOT)
            if not {default.run, default.root} & self.before["file"]:
                stores.wipe(default)

    def _set_up(self) -> None:
        self._install_minidock()
        docker = docker_daemon.ensure(self.home, "networked")
        self.docker = ["docker", "-H", f"unix://{docker.socket}"]
        self.inside = docker.inside
        self.podman = [
            *("podman", "--root", f"{self.home}/podman", "--runroot", self.podman_run),
            *("--runtime", "runc", "--cgroup-manager", "cgroupfs"),
        ]
        self.runc = ["runc", "--root", f"{self.home}/runc"]
        self.runtime = [f"{self.home}/bin/minidock-runtime", "--root", f"{self.home}/runtime"]

        tar = f"{self.home}/busybox.tar"
        self.output("sh", "-c", f"{REPOSITORY}/images/busybox/recipe >{tar}")
        self.output(*self.minidock, "image", "make", "busybox")
        self.output(*self.docker, "import", "-c", 'CMD ["sh"]', tar, "busybox")
        self.output(*self.podman, "import", "-c", 'CMD ["sh"]', tar, "localhost/busybox")
        self._make_bundle(tar)

    def _install_minidock(self) -> None:
        places = {"PREFIX": "opt", "BIN": "bin", "SHARE": "share"}
        where = {name: f"{self.home}/{folder}" for name, folder in places.items()}
        subprocess.run(
            [REPOSITORY / "install.sh"],
            env={**self.environment, **where, "NEEDS": "no"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.minidock = [f"{self.home}/bin/minidock"]

    def _make_bundle(self, tar: str) -> None:
        """One OCI bundle for both runtimes: busybox's rootfs under runc's own default config."""
        (self.bundle / "rootfs").mkdir(parents=True)
        self.output("tar", "-xf", tar, "-C", self.bundle / "rootfs")
        self.output("runc", "spec", "--bundle", self.bundle)
        config = json.loads((self.bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=["true"])
        (self.bundle / "config.json").write_text(json.dumps(config))

    def debian_archive(self) -> Path:
        """A docker-archive of a Debian image of about 180 MB, as `docker save` writes it.

        It is made once.
        """
        archive = self.home / "debian.tar"
        if archive.exists():
            return archive
        rootfs = self.home / "debian-rootfs.tar"
        with open(rootfs, "wb") as tar:
            subprocess.run(
                [REPOSITORY / "images/debian/recipe"],
                stdout=tar,
                check=True,
                env={**self.environment, "DEBIAN_INCLUDE": "git"},
            )
        self.output(*self.docker, "import", rootfs, "bench/debian")
        self.output(*self.docker, "save", "-o", archive, "bench/debian")
        self.output(*self.docker, "rmi", "bench/debian")
        rootfs.unlink()
        return archive

    def _take_down(self) -> None:
        if os.path.isdir(self.podman_run):
            podman = [*self.podman, "rm", "-f", "-a", "-t", "0"]
            subprocess.run(podman, capture_output=True, env=self.environment)
        docker_daemon.stop_all(self.home)
        stores.wipe(self.store)
        self._remove_podmans_traces()
        shutil.rmtree(self.home, ignore_errors=True)
        for line in machine.left_behind(self.before, machine.snapshot(), {str(self.home)}):
            print(f"left behind: {line}", file=sys.stderr)

    def _remove_podmans_traces(self) -> None:
        below = (f"{self.home}/podman", self.podman_run)
        for mount in machine.mounts():
            point = mount.split(" ")[0]
            if point.startswith(below):
                subprocess.run(["umount", "-l", point], capture_output=True)
        if "podman0" not in self.before["link"]:
            subprocess.run(["ip", "link", "delete", "podman0"], capture_output=True)
            subprocess.run(["nft", "delete", "table", "inet", "netavark"], capture_output=True)
        shutil.rmtree(self.podman_run, ignore_errors=True)
