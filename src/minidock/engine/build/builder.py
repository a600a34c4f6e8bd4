"""What the stages of one build share: options, staging, images, cache, and what failed."""

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
    """What fails in the block is a vertex's failure, and so the build's."""

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
        told = to_minidock_error(error) if isinstance(error, OSError) else error
        self._vertex.failed(str(told))
        self._builder.failed(self._vertex, self._instruction, error)


class Builder:
    """One build.

    staging: its directory. running: its RUN steps. failures: steps that failed, first one first.
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
        """A path in staging/ for one more thing."""
        return f"{self.staging}/{next(self._numbers)}"

    def check_cancelled(self) -> None:
        if self.running.cancelled:
            raise Cancelled("cancelled")

    def record_failure(self, vertex: Vertex, instruction: Instruction | None) -> _RecordFailure:
        """What fails in the block is that vertex's failure."""
        return _RecordFailure(self, vertex, instruction)

    def failed(
        self, vertex: Vertex | None, instruction: Instruction | None, error: BaseException
    ) -> None:
        """Note that a step has failed; all others are stopped."""
        self.failures.append(Failure(vertex, instruction, error))
        self.running.cancel()

    # What stages begin from

    def find_images(self) -> None:
        """Find the images that the needed stages begin from; pull those that are not here."""
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
        """Refuse, before any step runs, a build whose steps ask for more than was allowed.

        What a stage leaves for a later one by ONBUILD is refused when that begins.
        """
        for stage in self.plan.needed:
            if stage.number < 0:
                continue  # an image that --from names: it has no steps
            first = self.first_state(stage) if stage.base is None else State()
            for instruction in [*self.triggers(first, stage), *stage.instructions]:
                if instruction.keyword == "RUN":
                    run_network(instruction, self.options)

    def first_state(self, stage: Stage) -> State:
        """The state in which a stage begins."""
        if stage.base is not None:
            return self.state_of(stage.base).copy()
        if stage.image == "scratch":
            return State()
        return self._images[stage.image].copy()

    def state_of(self, stage: Stage) -> State:
        """What a stage came to; waits for it."""
        if stage.number < 0:
            return self.first_state(stage)
        return self.promises[id(stage)].result()

    def triggers(self, state: State, stage: Stage) -> list[Instruction]:
        """The ONBUILD instructions that what a stage begins from has left for it.

        They stand where FROM does, and can take nothing from stages or images that only they name.
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
        """An ARG's value: of --build-arg, its own default, or the global ARG's."""
        self._used_args.add(name)
        if name in self.options.build_args:
            return self.options.build_args[name]
        return self.plan.global_args.get(name) if default is None else default

    def warnings(self) -> list[str]:
        """What was given and never asked for."""
        known = {*self._used_args, *self.plan.global_args}
        unused = [
            name
            for name in self.options.build_args
            if name not in known and name.upper() not in PROXIES
        ]
        if not unused:
            return []
        return [f"One or more build-args [{' '.join(sorted(unused))}] were not consumed"]
