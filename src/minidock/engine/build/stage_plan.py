"""From a Dockerfile's instructions to its stages, and to those of them that are needed.

A stage is needed if the target is made from it: by FROM, by COPY --from or by RUN --mount=from=.
All others are left alone; nothing of theirs is run, and their images are not even looked for.

    ARG TAG=1              global: for the FROM lines only
    FROM debian:$TAG AS a
    FROM a AS b            needs a
    COPY --from=c /x /     needs c, from this line on: until then the two are built side by side
    COPY --from=nginx /y / an image: a stage of its own, with nothing in it but its FROM

Sources: docs.docker.com/reference/dockerfile "FROM", "ARG", "COPY --from"; what BuildKit answers.
"""

from __future__ import annotations

from minidock.engine.dockerfile import checks
from minidock.engine.dockerfile.config import arg_pairs
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.shell_words import expand, go_quote
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
    """One FROM, and what follows it.

    number: its place in the Dockerfile; -1 for an image that --from names. name: as AS gave it.
    image: what it begins from, "" where that is another stage: `base`. instructions: without FROM.
    needs: the stages that its instructions take something from, in order, without `base`.
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
        """How progress calls it: its name, or "stage-1"."""
        return self.name or f"stage-{self.number}"

    @property
    def step_count(self) -> int:
        """How many of its instructions make a layer, its FROM an image counted as one."""
        own = sum(instruction.keyword in _LAYERED for instruction in self.instructions)
        return own + self.has_image

    @property
    def has_image(self) -> bool:
        """Whether it begins from an image: FROM counts as a step then."""
        return bool(self.image) and self.image != SCRATCH


class Plan:
    """The stages of a build.

    target: the one that becomes the image. needed: it and all that it needs, each after those.
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
    Raises DockerfileError, which says the line.
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
    """The ARGs that tell of platforms, which a stage sees once it declares them."""
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
    """The stage that a FROM begins."""
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
    """Raise DockerfileError for a platform whose programs cannot run here."""
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
        hint="minidock builds for the machine that it runs on",
    )


def _find_target(stages: list[Stage], target: str) -> Stage:
    for stage in reversed(stages):
        if stage.name and stage.name == target.lower():
            return stage
    if is_decimal(target) and int(target) < len(stages):
        return stages[int(target)]
    raise DockerfileError(f"target stage {go_quote(target)} could not be found")


def _resolve_needs(stage: Stage, stages: list[Stage]) -> None:
    """Find the stages or images that a stage's instructions take something from."""
    for instruction in stage.instructions:
        for source in sources_of(instruction):
            if source in stage.needs:
                continue
            with ErrorLocation(instruction):
                stage.needs[source] = _source_stage(source, stage, stages, instruction)


def sources_of(instruction: Instruction) -> Iterator[str]:
    """What the instruction's --from and --mount=…,from= name."""
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
            hint="a stage takes only from those before it",
        )
    if named:
        refuse_source(name, stage, instruction)
    image = Stage(-1, "", instruction)
    image.image = name
    return image


def refuse_source(name: str, stage: Stage, instruction: Instruction) -> NoReturn:
    """Raise the error for a stage that cannot be taken from, in BuildKit's words."""
    act = "mount" if instruction.keyword == "RUN" else "copy"
    raise DockerfileError(
        f"cannot {act} from stage {go_quote(name)}, it needs to be defined before current stage "
        f"{go_quote(stage.shown)}"
    )


def _reachable(target: Stage) -> Iterator[Stage]:
    """The target and what stands below it by FROM and, as it becomes known, by --from."""
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
    """The target and all that it needs, each after what it needs itself."""
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
    """What a block finds wrong is said to be at an instruction."""

    def __init__(self, instruction: Instruction) -> None:
        self._instruction = instruction

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DockerfileError):
            error.at(self._instruction.first_line, self._instruction.last_line)
