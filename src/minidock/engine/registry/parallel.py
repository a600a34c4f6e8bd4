"""Several layers on their way at once: the first that fails ends all of them."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from minidock.engine.registry.client import Registry

    Made = TypeVar("Made")


def side_by_side(
    registry: Registry, acts: Mapping[str, Callable[[], Made]], *, at_a_time: int
) -> dict[str, Made]:
    """Do all acts, each in a thread; returns what each made, under its name.

    Raises what the first act that failed did; the others are given up then, and so is the registry.
    """
    with ThreadPoolExecutor(at_a_time, thread_name_prefix="layer") as pool:
        jobs = {name: pool.submit(act) for name, act in acts.items()}
        try:
            done, _ = wait(jobs.values(), return_when=FIRST_EXCEPTION)
            for job in done:
                job.result()
        except BaseException:
            registry.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return {name: job.result() for name, job in jobs.items()}
