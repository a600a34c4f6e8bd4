"""Build the needed stages in parallel, one thread each; a thread waits for stages it depends on.

A single stage is built without threads. A failed step cancels the others: running commands are
killed, and each thread ends before its next step.
"""

from __future__ import annotations

from minidock.engine.build.promise import Promise
from minidock.engine.build.run_step import Cancelled
from minidock.engine.build.stage import StageBuilder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

    from minidock.engine.build.builder import Builder
    from minidock.engine.build.stage_plan import Stage
    from minidock.engine.build.stage_state import State
    from minidock.engine.build.step_sources import StepSources


def build_stages(builder: Builder, files: StepSources) -> State:
    """Build all needed stages; returns the target's final state.

    Raises the error of the first failed step.
    """
    stages = [stage for stage in builder.plan.needed if stage.number >= 0]
    if len(stages) == 1:
        return _build_stage(builder, files, stages[0])
    from threading import Thread

    builder.promises.update({id(stage): Promise() for stage in stages})
    threads = [
        Thread(target=_run_thread, args=(builder, files, stage), name=stage.shown)
        for stage in stages
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:
        _cancel(builder, stages, threads, error)
        raise
    _raise_first_failure(builder)
    return builder.state_of(builder.plan.target)


def _cancel(
    builder: Builder, stages: list[Stage], threads: list[Thread], error: BaseException
) -> None:
    """Kill the running commands, and wait for the threads that were started."""
    builder.running.cancel()
    for stage, thread in zip(stages, threads, strict=True):
        if thread.ident is None:  # not started: a waiting stage would block forever
            builder.promises[id(stage)].set_exception(error)
    for thread in threads:
        if thread.ident is not None:
            thread.join()


def _raise_first_failure(builder: Builder) -> None:
    """Raise the error of a step, not of a stage that was cancelled because of it."""
    if builder.failures:
        raise builder.failures[0].error
    for promise in builder.promises.values():
        if promise.error is not None and not isinstance(promise.error, Cancelled):
            raise promise.error


def _run_thread(builder: Builder, files: StepSources, stage: Stage) -> None:
    """Thread main: build one stage and set its promise."""
    promise = builder.promises[id(stage)]
    try:
        promise.set_result(_build_stage(builder, files, stage))
    except BaseException as error:
        promise.set_exception(error)
        builder.running.cancel()


def _build_stage(builder: Builder, files: StepSources, stage: Stage) -> State:
    return StageBuilder(builder, files, stage, builder.first_state(stage)).build()
