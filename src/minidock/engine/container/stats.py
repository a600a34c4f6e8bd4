"""Resource usage of containers: CPU, memory, network, block devices, processes.

A `Sample` is the kernel's counters at one moment; CPU usage is the difference of two samples.
Memory is counted as in Docker: without the page cache that can be dropped at once.

Sources: cgroups(7), the memory.stat of both versions; proc(5) /proc/PID/net/dev; Docker's
documentation of `docker stats`.
"""

from __future__ import annotations

import os
import time

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container
from minidock.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerState


class Sample:
    """The current usage of a container; all 0 if it does not run.

    memory_limit_bytes: the machine's memory if it has no limit.
    network_bytes, block_bytes: received and sent, read and written, since its start.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.taken = time.monotonic()
        self.cpu_ns = self.memory_bytes = self.memory_limit_bytes = self.pids = 0
        self.network_bytes = self.block_bytes = (0, 0)
        if container.running and not container.restarting:
            try:
                self._read()
            except (KernelError, OSError):
                pass  # it is just ending

    def _read(self) -> None:
        group = cgroup_of(self.container.store, self.container.id)
        usage = group.usage()
        self.cpu_ns = usage["cpu_ns"]
        cache = usage["memory_inactive_file_bytes"]
        used = usage["memory_bytes"]
        self.memory_bytes = used - cache if cache < used else used
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit = usage["memory_limit_bytes"]
        self.memory_limit_bytes = limit if 0 <= limit < whole else whole
        self.pids = usage["pids"]
        self.block_bytes = group.block_bytes()
        self.network_bytes = _network_bytes(self.container)

    def cpu_percent(self, before: Sample) -> float:
        """Return its CPU usage since another sample: 100 for one fully used processor."""
        nanoseconds = (self.taken - before.taken) * 1e9
        used = self.cpu_ns - before.cpu_ns
        return 100 * used / nanoseconds if nanoseconds > 0 and used > 0 else 0.0

    @property
    def memory_percent(self) -> float:
        return 100 * self.memory_bytes / self.memory_limit_bytes if self.memory_limit_bytes else 0.0


def _network_bytes(container: Container) -> tuple[int, int]:
    """Sum up all its network devices except loopback; 0 with the host's network."""
    if container.host_config.get("NetworkMode") == "host":
        return 0, 0
    received = sent = 0
    with open(f"/proc/{_pid(container.state)}/net/dev", encoding="ascii") as file:
        for line in file.readlines()[2:]:
            name, _, numbers = line.partition(":")
            if name.strip() != "lo":
                fields = numbers.split()
                received += int(fields[0])
                sent += int(fields[8])
    return received, sent


def _pid(state: ContainerState) -> int:
    return state["Pid"]
