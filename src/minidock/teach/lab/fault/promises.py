"""What the set-up promises, each tested by doing it.

A test connects, queries, writes and counts as a user of the set-up would, and looks for no
particular fault. So any repair counts that works, and one that breaks something else does not.

Only `do_job` runs by `minidock exec`, in the container's cgroup: its result depends on the limits.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from minidock.kernel.proc_stat import stat_fields
from minidock.teach.lab.fault.setup_commands import MEMORY_BYTES, PAGE, PIDS, PRICES, USER
from minidock.teach.lab.fault.setup_view import Broken, View
from minidock.teach.lab.fault.shop import Shop

ANSWER_SECONDS = 1.0  # on the reference machine, where an answer takes less than 0.01
JOB_SECONDS = 1.5


@dataclass(frozen=True)
class Promise:
    """One function of the set-up.

    name: for tests, and for Fault.breaks. text: the promise, as a sentence. check: tests it, and
    raises Broken.
    """

    name: str
    text: str
    check: Callable[[View], None]


def find_broken(
    shop: Shop, names: Iterable[str] | None = None, *, seconds: float = ANSWER_SECONDS
) -> dict[str, str]:
    """Find the broken promises: name -> what was seen.

    names: only these. seconds: timeout of an answer on the reference machine. All tests run at the
    same time.
    """
    asked = [promise for promise in PROMISES if names is None or promise.name in names]
    view = View(shop, seconds)
    with ThreadPoolExecutor(len(asked)) as pool:
        seen = list(pool.map(lambda promise: _try_promise(promise, view), asked))
    return {promise.name: text for promise, text in zip(asked, seen, strict=True) if text}


def _try_promise(promise: Promise, view: View) -> str:
    try:
        promise.check(view)
    except Broken as error:
        return str(error)
    return ""


# --- the network ---------------------------------------------------------------------------------


def page_here(view: View) -> None:
    """Connect from this machine to its own loopback address."""
    address = ("127.0.0.1", 8081)
    try:
        with socket.create_connection(address, timeout=view.wait) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except TimeoutError:
        raise Broken(f"no answer within {view.wait:.1f} s") from None
    except OSError as error:
        raise Broken(f"{error.strerror or error}") from None
    if b"lab shop" not in answer:
        raise Broken(f"the answer is {answer[:60]!r}")


def page_for_other_host(view: View) -> None:
    view.page("lab-bank", f"http://{view.names.get('TOWN_GATEWAY', '')}:8081/")


def page_by_name(view: View) -> None:
    view.page("lab-client", "http://lab-web/")


def page_of_the_world(view: View) -> None:
    view.page("lab-client", f"http://{view.names.get('TOWN_GATEWAY', '')}:8082/")


def page_of_itself(view: View) -> None:
    view.page("lab-web", f"http://{view.names.get('GATEWAY', '')}:8081/")


def page_inside(view: View) -> None:
    view.page("lab-web", "http://127.0.0.1/")


def big_datagrams(view: View) -> None:
    """Send an echo request of 1200 bytes, more than a reduced MTU lets through."""
    web = view.names.get("WEB_ADDRESS", "")
    if not web:
        raise Broken("lab-web has no address in network lab-shop")
    limit = ["timeout", "-s", "KILL", f"{view.wait:.2f}"]
    done = view.inside("lab-client", *limit, "ping", "-q", "-c", "1", "-s", "1200", web)
    if done.returncode:
        raise Broken(f"an echo of 1200 bytes from {web} did not come back")


# --- files ---------------------------------------------------------------------------------------


def page_of_the_season(view: View) -> None:
    for path, text in (("/srv/index.html", PAGE), ("/srv/prices", PRICES)):
        found = view.says("lab-web", "cat", path)
        if found != text:
            raise Broken(f"{path} in lab-web says {found.strip()!r}, not {text.strip()!r}")


def keep_orders(view: View) -> None:
    """A file that the worker writes as its user must be in the volume, as the host sees it."""
    number = os.urandom(4).hex()
    path = f"{view.names['ORDERS']}/{number}"
    view.says("lab-worker", "sh", "-c", f"echo {number} > /orders/{number}", user=USER)
    try:
        with open(path, encoding="ascii") as file:
            if file.read().strip() != number:
                raise Broken(f"{path} differs from what was written to /orders")
        os.unlink(path)
    except FileNotFoundError:
        view.inside("lab-worker", "rm", "-f", f"/orders/{number}")
        raise Broken("what lab-worker writes to /orders is not in volume lab-orders") from None


def _write_scratch_file(view: View, name: str, bytes_: int) -> None:
    path = f"/var/tmp/lab-{os.urandom(4).hex()}"
    try:
        view.says(name, "sh", "-c", f"mkdir -p /var/tmp && head -c {bytes_} /dev/zero > {path}")
    finally:
        view.inside(name, "rm", "-f", path)


def keep_notes(view: View) -> None:
    _write_scratch_file(view, "lab-client", 4096)


def keep_drafts(view: View) -> None:
    _write_scratch_file(view, "lab-worker", 1 << 20)


def keep_mounts_apart(view: View) -> None:
    """A mount in the worker must not appear on this machine."""
    name = f"apart-{os.urandom(4).hex()}"
    directory = f"{view.names['DISK']}/{name}"
    os.mkdir(directory)
    try:
        view.says("lab-worker", "mount", "-t", "tmpfs", "lab", f"/disk/{name}")
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            seen = any(line.split()[4].endswith(name) for line in file)
        view.says("lab-worker", "umount", f"/disk/{name}")
    finally:
        os.rmdir(directory)
    if seen:
        raise Broken("what lab-worker mounts below /disk is mounted on this machine too")


# --- processes, limits, /proc and /dev -----------------------------------------------------------


def do_job(view: View) -> None:
    """The worker's job, in the worker's cgroup: eight processes, then 16 MB."""
    seconds = JOB_SECONDS * view.slowness
    try:
        done = view.shop.run_script("minidock exec lab-worker /shop/job", seconds=seconds)
    except subprocess.TimeoutExpired:
        raise Broken(f"/shop/job in lab-worker takes more than {seconds:.1f} s") from None
    if done.returncode:
        why = done.stderr.partition("\n")[0].removeprefix("minidock: ")
        raise Broken(f"/shop/job in lab-worker ended with {done.returncode}: {why}".rstrip(": "))
    if done.stdout.strip() != str(16 << 20):
        raise Broken(f"/shop/job in lab-worker printed {done.stdout.strip()[:40]!r}, not 16777216")


def reap_orphans(view: View) -> None:
    """PID 1 must reap the orphans that it adopts."""
    view.says("lab-worker", "sh", "-c", "(sleep 0 & sleep 0 &)")
    deadline = time.monotonic() + view.wait / 2
    while zombies := _zombies(view):
        if time.monotonic() > deadline:
            raise Broken(f"lab-worker has {zombies} ended processes that are not reaped (state Z)")
        time.sleep(0.01)


def _zombies(view: View) -> int:
    """The number of zombies among PID 1's children, from the host's /proc."""
    pid = view.pid("lab-worker")
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return sum(stat_fields(child)[1:2] == ["Z"] for child in file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        raise Broken("lab-worker does not run") from None


def obey_limits(view: View) -> None:
    """Read the limits from the cgroup of the worker's first process."""
    pid = view.pid("lab-worker")
    for controller, file, wanted in (
        ("memory", ("memory.limit_in_bytes", "memory.max"), MEMORY_BYTES),
        ("pids", ("pids.max", "pids.max"), PIDS),
    ):
        found = _limit(pid, controller, *file)
        if found != str(wanted):
            raise Broken(f"the kernel's {controller} limit of lab-worker is {found}, not {wanted}")


def _limit(pid: str, controller: str, v1_file: str, v2_file: str) -> str:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except (FileNotFoundError, ProcessLookupError):
        raise Broken("lab-worker does not run") from None
    for _, controllers, path in lines:
        if controller in controllers.split(","):
            limit_path = f"/sys/fs/cgroup/{controllers}{path}/{v1_file}"
            break
    else:
        limit_path = f"/sys/fs/cgroup{lines[-1][2]}/{v2_file}"
    try:
        with open(limit_path, encoding="ascii") as limit:
            return limit.read().strip()
    except FileNotFoundError:
        return "none"


def list_processes(view: View) -> None:
    text = view.says("lab-worker", "ps", "-o", "pid,args")
    if not any(line.split()[:1] == ["1"] for line in text.splitlines()):
        raise Broken("ps in lab-worker does not list process 1")


def write_to_null(view: View) -> None:
    view.says("lab-worker", "sh", "-c", "echo something > /dev/null")
    if size := view.says("lab-worker", "sh", "-c", "wc -c < /dev/null").strip().lstrip("0"):
        raise Broken(f"/dev/null in lab-worker keeps what is written to it: {size} bytes")


def hide_secrets(view: View) -> None:
    """Masked paths must read as empty."""
    for path in ("/proc/keys", "/proc/timer_list"):
        if os.path.exists(path):
            text = view.inside("lab-worker", "cat", path).stdout
            if text:
                raise Broken(f"{path} of this machine can be read in lab-worker: {text[:30]!r}")


PROMISES = (
    Promise("here", "a browser on this machine gets a page from 127.0.0.1:8081", page_here),
    Promise("other-host", "another machine (lab-bank) gets a page from this one's port 8081",
            page_for_other_host),
    Promise("by-name", "lab-client gets a page from http://lab-web/", page_by_name),
    Promise("world", "lab-client gets a page from the world outside (lab-bank, by port 8082)",
            page_of_the_world),
    Promise("itself", "lab-web gets a page from its own published port 8081", page_of_itself),
    Promise("inside", "lab-web gets a page from its own 127.0.0.1", page_inside),
    Promise("datagrams", "datagrams of 1200 bytes go from lab-client to lab-web", big_datagrams),
    Promise("season", "lab-web has the page of this season, and the prices", page_of_the_season),
    Promise("orders", f"lab-worker, as user {USER}, puts orders into volume lab-orders",
            keep_orders),
    Promise("notes", "lab-client writes files of its own", keep_notes),
    Promise("drafts", "lab-worker writes files of its own, a megabyte", keep_drafts),
    Promise("apart", "a mount in lab-worker stays in lab-worker", keep_mounts_apart),
    Promise("job", "lab-worker does its job (minidock exec lab-worker /shop/job)", do_job),
    Promise("zombies", "no process that has ended stays in lab-worker", reap_orphans),
    Promise("limits", "lab-worker has 32 MB and 24 processes at most", obey_limits),
    Promise("ps", "ps in lab-worker lists its processes", list_processes),
    Promise("null", "what lab-worker writes to /dev/null is gone", write_to_null),
    Promise("secrets", "lab-worker cannot read the keys and timers of this machine", hide_secrets),
)  # fmt: skip
