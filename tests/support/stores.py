"""Stores for tests: made below /var/tmp (never on a tmpfs), and wiped by the kernel's own means.

The wipe uses nothing of minidock's, so that a broken `rm` cannot hide what it left: a test that
wants to know asks `leftovers` first.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from minidock.engine.image import archive
from minidock.kernel.cgroup import MONITORS
from minidock.paths import Store
from support import machine
from support.command import Minidock
from support.patience import patience


def marks(store: Store) -> set[str]:
    """The names that identify a store's kernel objects."""
    return {store.root, store.run, store.cgroup_parent, store.bridge}


def busybox_and_no_leftovers(store: Store, busybox_tar: Path) -> Iterator[str]:
    """For a fixture: an image in the store; afterwards no container, and nothing left of one."""
    with open(busybox_tar, "rb") as tar:
        archive.import_rootfs(store, tar, "busybox:latest")
    yield "busybox"
    if ids := Minidock(store.root).ok("ps", "-aq").split():
        Minidock(store.root).ok("rm", "-f", *ids)
    assert leftovers(store) == []


def leftovers(store: Store) -> list[str]:
    """What is still there of a store's containers: what the kernel holds, processes, files in /run.

    A monitor says its last word and ends a moment later: processes get that moment.
    """
    found = held(store)
    deadline = time.monotonic() + patience(2)
    while (living := processes(store)) and time.monotonic() < deadline:
        time.sleep(0.02)
    found += living
    if os.path.isdir(store.run):
        sealed = os.path.basename(store.sealed)
        found += [f"file: {store.run}/{n}" for n in sorted(os.listdir(store.run)) if n != sealed]
    return found


def processes(store: Store) -> list[str]:
    """A store's processes: monitors, and what runs in containers."""
    return [f"process: {p}" for p in sorted(machine.processes()) if store.root in p]


def held(store: Store) -> list[str]:
    """What the kernel holds of a store's containers: mounts, links, rules, cgroups.

    What a store keeps from its first container on (bridge, chains, sealed interpreter, its own
    cgroup and, in cgroup v2, the one of its monitors) does not count.
    """
    kept = (store.sealed, f"{store.run} ")
    kept_cgroups = (f"/{store.cgroup_parent}", f"/{store.cgroup_parent}/{MONITORS}")
    found = [
        f"mount: {m}"
        for m in sorted(machine.mounts())
        if m.startswith((f"{store.root}/", f"{store.run}/")) and not m.startswith(kept)
    ]
    found += [f"link: {x}" for x in sorted(machine.links()) if f" in {store.bridge}" in x]
    found += [
        f"rule: {rule}"
        for rule in sorted(machine.firewall_rules())
        if "-j DNAT" in rule and _is_of(store, rule)
    ]
    found += [
        f"cgroup: {c}"
        for c in sorted(machine.cgroups())
        if f"/{store.cgroup_parent}/" in c + "/" and not c.endswith(kept_cgroups)
    ]
    return found


def wipe(store: Store) -> None:
    """Remove a store and all that the kernel holds of it, whatever state it is in."""
    reboot(store)
    shutil.rmtree(store.root, ignore_errors=True)


def reboot(store: Store) -> None:
    """Leave of a store what a reboot leaves: its directory, and nothing in the kernel or /run."""
    _kill_all(store)
    machine.unmount_below(store.root, store.run)
    _remove_links(store)
    _remove_rules(store)
    _remove_cgroups(store)
    shutil.rmtree(store.run, ignore_errors=True)


def _is_of(store: Store, text: str) -> bool:
    tag = store.run.rpartition("-")[2]  # the root's fingerprint
    return store.bridge in text or (not store.is_default and tag in text.lower())


def _kill_all(store: Store) -> None:
    deadline = time.monotonic() + patience(10)
    while True:
        pids = {int(p.split()[0]) for p in machine.processes() if store.root in p}
        for path in _cgroup_directories(store):
            try:
                pids |= {int(p) for p in Path(f"{path}/cgroup.procs").read_text().split()}
                for knob in ("freezer.state", "cgroup.freeze"):  # the frozen cannot die
                    if os.path.exists(f"{path}/{knob}"):
                        Path(f"{path}/{knob}").write_text("THAWED" if "." in knob[7:] else "0")
            except OSError:
                continue  # removed meanwhile, or a root that has no such file
        pids -= {0, os.getpid()}
        if not pids or time.monotonic() > deadline:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _remove_links(store: Store) -> None:
    for link in machine.links():
        name, _, bridge = link.partition(" in ")
        if any(f"{device}-".startswith(f"{store.bridge}-") for device in (name, bridge)):
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def _remove_rules(store: Store) -> None:
    """Delete the store's rules and chains, by the restore commands' own language.

    A store that has no network's file never had any.
    """
    if not os.path.isdir(f"{store.root}/networks"):
        return
    scripts: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for entry in sorted(machine.firewall_rules()):
        command, table, rule = entry.split(" ", 2)
        if not _is_of(store, rule):
            continue
        rules, chains = scripts.setdefault((command, table), ([], []))
        if rule.startswith("-A "):
            rules.append("-D" + rule[2:])
        elif found := re.match(r":(\S+)", rule):
            chains.append(found[1])
    for (command, table), (rules, chains) in scripts.items():
        lines = [f"*{table}", *rules, *(f"-F {c}" for c in chains), *(f"-X {c}" for c in chains)]
        subprocess.run(
            [f"{command}-restore", "--noflush", "--wait"],
            input="\n".join([*lines, "COMMIT", ""]),
            text=True,
            check=True,
            capture_output=True,
        )


def _cgroup_directories(store: Store) -> list[str]:
    """The store's cgroups in every hierarchy, the deepest first."""
    ours = [c for c in machine.cgroups() if f"/{store.cgroup_parent}/" in c + "/"]
    return sorted(ours, key=len, reverse=True)


def _remove_cgroups(store: Store) -> None:
    deadline = time.monotonic() + patience(5)
    while (directories := _cgroup_directories(store)) and time.monotonic() < deadline:
        for path in directories:
            try:
                os.rmdir(path)
            except OSError:  # a process in it is still dying
                time.sleep(0.01)
