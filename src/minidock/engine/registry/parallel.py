"""Transfer several layers in parallel; the first failure cancels the others."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from minidock.engine.registry.client import Registry

    Result = TypeVar("Result")


def run_parallel(
    registry: Registry, tasks: Mapping[str, Callable[[], Result]], *, max_workers: int
) -> dict[str, Result]:
    """Run tasks in a thread pool; returns their results by name.

    Raises the error of the first failed task; the other tasks and the registry are cancelled.
    """
    with ThreadPoolExecutor(max_workers, thread_name_prefix="layer") as pool:
        futures = {name: pool.submit(task) for name, task in tasks.items()}
        try:
            done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            registry.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return {name: future.result() for name, future in futures.items()}
