"""The state that all stages of one build share: options, staging, images, cache, failures."""

from __future__ import annotations

import itertools

from minidock.engine.build.base_images import find_image, full_name
from minidock.engine.build.entitlements import run_network
from minidock.engine.build.failure import Failure, to_minidock_error
from minidock.engine.build.run_step import PROXIES, Cancelled, RunningCommands
from minidock.engine.build.stage_plan import ErrorLocation, refuse_source, sources_of
from minidock.engine.build.stage_state import State
from minidock.engine.dockerfile.parser import parse_trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.context import Context
    from minidock.engine.build.options import Options
    from minidock.engine.build.progress import Progress, Vertex
    from minidock.engine.build.promise import Promise
    from minidock.engine.build.stage_plan import Plan, Stage
    from minidock.engine.dockerfile.instruction import Instruction
    from minidock.engine.image.build_cache import Cache
    from minidock.paths import Store


class _RecordFailure:
    """A context manager: an exception in its block fails the vertex, and with it the build."""

    def __init__(self, builder: Builder, vertex: Vertex, instruction: Instruction | None) -> None:
        self._builder = builder
        self._vertex = vertex
        self._instruction = instruction

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if isinstance(error, Cancelled) or not isinstance(error, Exception):
            self._vertex.cancelled()
            return
        reported = to_minidock_error(error) if isinstance(error, OSError) else error
        self._vertex.failed(str(reported))
        self._builder.add_failure(self._vertex, self._instruction, error)


class Builder:
    """One build.

    staging: its directory. running: its RUN commands. failures: failed steps, in order of time.
    """

    def __init__(
        self,
        store: Store,
        options: Options,
        planned: Plan,
        context: Context,
        cache: Cache,
        staging: str,
        progress: Progress,
    ) -> None:
        self.store = store
        self.options = options
        self.plan = planned
        self.context = context
        self.cache = cache
        self.staging = staging
        self.progress = progress
        self.running = RunningCommands()
        self.failures: list[Failure] = []
        self.promises: dict[int, Promise] = {}
        self._images: dict[str, State] = {}
        self._numbers = itertools.count()
        self._used_args: set[str] = set()
        self.has_several_stages = len(planned.stages) > 1

    def new_path(self) -> str:
        """A new path in staging/."""
        return f"{self.staging}/{next(self._numbers)}"

    def check_cancelled(self) -> None:
        if self.running.cancelled:
            raise Cancelled("cancelled")

    def record_failure(self, vertex: Vertex, instruction: Instruction | None) -> _RecordFailure:
        """A context manager: an exception in its block is recorded as a failure of the vertex."""
        return _RecordFailure(self, vertex, instruction)

    def add_failure(
        self, vertex: Vertex | None, instruction: Instruction | None, error: BaseException
    ) -> None:
        """Record a failed step, and cancel all other steps."""
        self.failures.append(Failure(vertex, instruction, error))
        self.running.cancel()

    # Base images and the first states of stages

    def find_images(self) -> None:
        """Find the base images of the needed stages; pull those that the store lacks."""
        for stage in self.plan.needed:
            if stage.image and stage.image != "scratch" and stage.image not in self._images:
                vertex = self.progress.vertex(
                    f"[internal] load metadata for {full_name(stage.image)}"
                )
                with self.record_failure(vertex, stage.origin):
                    vertex.begin()
                    image = find_image(
                        self.store, stage.image, pull=self.options.pull, vertex=vertex
                    )
                    self._images[stage.image] = State.of_image(image, stage.image)
                    vertex.done()

    def check_entitlements(self) -> None:
        """Check before any step runs that all steps have the entitlements they need.

        An ONBUILD trigger of an earlier stage is checked when the later stage begins.
        """
        for stage in self.plan.needed:
            if stage.number < 0:
                continue  # an image named by --from has no steps
            first = self.first_state(stage) if stage.base is None else State()
            for instruction in [*self.triggers(first, stage), *stage.instructions]:
                if instruction.keyword == "RUN":
                    run_network(instruction, self.options)

    def first_state(self, stage: Stage) -> State:
        """The state in which a stage begins: that of its base stage or base image."""
        if stage.base is not None:
            return self.state_of(stage.base).copy()
        if stage.image == "scratch":
            return State()
        return self._images[stage.image].copy()

    def state_of(self, stage: Stage) -> State:
        """The final state of a stage; waits until it is built."""
        if stage.number < 0:
            return self.first_state(stage)
        return self.promises[id(stage)].result()

    def triggers(self, state: State, stage: Stage) -> list[Instruction]:
        """Take the ONBUILD triggers of a stage's base image or base stage.

        They run in place of FROM, and must not name a stage or image by --from.
        """
        triggers = []
        assert stage.origin is not None
        with ErrorLocation(stage.origin):
            for text in state.config.pop("OnBuild", None) or []:
                trigger = parse_trigger(text)
                for source in sources_of(trigger):
                    refuse_source(source, stage, trigger)
                triggers.append(trigger)
        return triggers

    def uses_cache(self, stage: Stage) -> bool:
        skipped = self.options.no_cache_stages
        return not (self.options.no_cache or (stage.name and stage.name in skipped))

    def build_arg(self, name: str, default: str | None) -> str | None:
        """The value of an ARG: --build-arg, else its default, else that of the global ARG."""
        self._used_args.add(name)
        if name in self.options.build_args:
            return self.options.build_args[name]
        return self.plan.global_args.get(name) if default is None else default

    def warnings(self) -> list[str]:
        """Warnings about build arguments that no ARG used."""
        known = {*self._used_args, *self.plan.global_args}
        unused = [
            name
            for name in self.options.build_args
            if name not in known and name.upper() not in PROXIES
        ]
        if not unused:
            return []
        return [f"One or more build-args [{' '.join(sorted(unused))}] were not consumed"]
