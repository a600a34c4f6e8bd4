"""Plan a build: the stages of a Dockerfile, their dependencies, and the needed stages.

A stage is needed if the target depends on it by FROM, COPY --from or RUN --mount=from=. Other
stages are skipped, and their base images are not resolved.

    ARG TAG=1              global: for the FROM lines only
    FROM debian:$TAG AS a
    FROM a AS b            depends on a
    COPY --from=c /x /     depends on c at this line: until then, b and c are built in parallel
    COPY --from=nginx /y / an image: a stage of its own, which consists of its FROM

Sources: docs.docker.com/reference/dockerfile "FROM", "ARG", "COPY --from"; BuildKit's messages.
"""

from __future__ import annotations

from minidock.engine.dockerfile import checks
from minidock.engine.dockerfile.config import arg_pairs
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.word_expansion import expand, go_quote
from minidock.numerals import is_decimal
from minidock.oci import image_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from minidock.engine.dockerfile.instruction import Dockerfile, Instruction

_LAYERED = ("RUN", "COPY", "ADD", "WORKDIR")
SCRATCH = "scratch"


class Stage:
    """One stage: FROM and the instructions after it.

    number: its index in the Dockerfile; -1 for an image that --from names. name: as given by AS.
    image: its base image, "" if it begins from another stage, `base`. instructions: without FROM.
    needs: the stages that --from names, in order, without `base`.
    """

    def __init__(self, number: int, name: str, origin: Instruction | None) -> None:
        self.number = number
        self.name = name
        self.origin = origin
        self.image = ""
        self.base: Stage | None = None
        self.instructions: list[Instruction] = []
        self.needs: dict[str, Stage] = {}

    @property
    def shown(self) -> str:
        """Its name in progress output: that of AS, or "stage-1"."""
        return self.name or f"stage-{self.number}"

    @property
    def step_count(self) -> int:
        """The number of its instructions that make a layer, plus one for FROM an image."""
        own = sum(instruction.keyword in _LAYERED for instruction in self.instructions)
        return own + self.has_image

    @property
    def has_image(self) -> bool:
        """Whether it begins from an image; FROM is then a step."""
        return bool(self.image) and self.image != SCRATCH


class Plan:
    """The stages of a build.

    target: the stage that becomes the image. needed: the target and its dependencies, in
    topological order: each stage after its own dependencies.
    global_args: the ARGs before the first FROM, with their values.
    """

    def __init__(
        self, stages: list[Stage], target: Stage, global_args: dict[str, str | None]
    ) -> None:
        self.stages = stages
        self.target = target
        self.global_args = global_args
        self.needed = list(_in_dependency_order(target))


def plan(dockerfile: Dockerfile, *, build_args: dict[str, str], target: str) -> Plan:
    """Make the plan of a build.

    target: a stage's name or number, "" for the last one.
    Raises DockerfileError, with the line.
    """
    instructions, found = checks.stages(dockerfile)
    global_args: dict[str, str | None] = dict(platform_args())
    for instruction in instructions:
        with ErrorLocation(instruction):
            for name, default in arg_pairs(instruction, _values(global_args)):
                global_args[name] = build_args.get(name, default)
    stages: list[Stage] = []
    for one in found:
        with ErrorLocation(one.start):
            stages.append(_stage(one, stages, _values(global_args)))
    chosen = _find_target(stages, target) if target else stages[-1]
    for stage in _reachable(chosen):
        _resolve_needs(stage, stages)
    return Plan(stages, chosen, global_args)


def platform_args() -> dict[str, str]:
    """The predefined platform ARGs (BUILDPLATFORM, …), visible once a stage declares them."""
    architecture = image_config.host_architecture()
    values = {}
    for side in ("BUILD", "TARGET"):
        values[f"{side}PLATFORM"] = f"linux/{architecture}"
        values[f"{side}OS"] = "linux"
        values[f"{side}ARCH"] = architecture
        values[f"{side}VARIANT"] = ""
    return values


def _values(args: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in args.items() if value is not None}


def _stage(found: checks.Stage, stages: list[Stage], variables: dict[str, str]) -> Stage:
    """Make the Stage of a FROM."""
    escape = found.start.escape
    stage = Stage(len(stages), found.name, found.start)
    stage.instructions = found.instructions
    image = expand(found.base, variables, escape=escape)
    if not image:
        raise DockerfileError(f"base name ({found.base}) should not be blank")
    if found.platform:
        check_platform(expand(found.platform, variables, escape=escape), "--platform")
    for other in stages:
        if other.name and other.name == image.lower():
            stage.base = other
    if stage.base is None:
        stage.image = image
    return stage


def check_platform(wanted: str, what: str) -> None:
    """Raise DockerfileError for a platform other than that of this machine."""
    native = image_config.host_architecture()
    aliases = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
    parts = wanted.lower().split("/")
    if parts[0] == "linux" and len(parts) == 1:
        return
    architecture = parts[1] if len(parts) > 1 else parts[0]
    if parts[0] in ("linux", architecture) and aliases.get(architecture, architecture) == native:
        return
    raise DockerfileError(
        f"{what} {wanted} is not available: this machine is linux/{native}",
        hint="minidock builds for the platform of this machine only",
    )


def _find_target(stages: list[Stage], target: str) -> Stage:
    for stage in reversed(stages):
        if stage.name and stage.name == target.lower():
            return stage
    if is_decimal(target) and int(target) < len(stages):
        return stages[int(target)]
    raise DockerfileError(f"target stage {go_quote(target)} could not be found")


def _resolve_needs(stage: Stage, stages: list[Stage]) -> None:
    """Resolve the stages and images that --from in a stage's instructions names."""
    for instruction in stage.instructions:
        for source in sources_of(instruction):
            if source in stage.needs:
                continue
            with ErrorLocation(instruction):
                stage.needs[source] = _source_stage(source, stage, stages, instruction)


def sources_of(instruction: Instruction) -> Iterator[str]:
    """The sources that --from and --mount=…,from= of an instruction name."""
    for name, value in instruction.flags:
        if name == "from" and value and instruction.keyword in ("COPY", "ADD"):
            yield value
        elif name == "mount" and instruction.keyword == "RUN":
            for field in value.split(","):
                key, _, source = field.partition("=")
                if key.strip().lower() == "from":
                    yield source


def _source_stage(name: str, stage: Stage, stages: list[Stage], instruction: Instruction) -> Stage:
    named = [s for s in stages if s.name and s.name == name.lower()]
    if not named and is_decimal(name):
        if int(name) >= len(stages):
            raise DockerfileError(f"invalid stage index {name}")
        named = [stages[int(name)]]
    if before := [other for other in named if other.number < stage.number]:
        return before[-1]
    if stage in named:
        raise DockerfileError(
            f"circular dependency detected on stage: {stage.shown}",
            hint="a stage can only use earlier stages",
        )
    if named:
        refuse_source(name, stage, instruction)
    image = Stage(-1, "", instruction)
    image.image = name
    return image


def refuse_source(name: str, stage: Stage, instruction: Instruction) -> NoReturn:
    """Raise BuildKit's error for a stage that is defined later."""
    act = "mount" if instruction.keyword == "RUN" else "copy"
    raise DockerfileError(
        f"cannot {act} from stage {go_quote(name)}, it needs to be defined before current stage "
        f"{go_quote(stage.shown)}"
    )


def _reachable(target: Stage) -> Iterator[Stage]:
    """The target and the stages that it depends on; follows `needs` as the caller resolves them."""
    pending, seen = [target], set()
    while pending:
        stage = pending.pop()
        if id(stage) in seen:
            continue
        seen.add(id(stage))
        yield stage
        pending += stage.needs.values()
        if stage.base is not None:
            pending.append(stage.base)


def _in_dependency_order(target: Stage) -> Iterator[Stage]:
    """The target and its dependencies in topological order, dependencies first."""
    done: set[int] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        if id(stage) in done:
            return
        done.add(id(stage))
        if stage.base is not None:
            yield from visit(stage.base)
        for needed in stage.needs.values():
            yield from visit(needed)
        yield stage

    return visit(target)


class ErrorLocation:
    """A context manager: a DockerfileError of its block gets the lines of an instruction."""

    def __init__(self, instruction: Instruction) -> None:
        self._instruction = instruction

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DockerfileError):
            error.at(self._instruction.first_line, self._instruction.last_line)
