"""Build one stage: execute its instructions in order.

    FROM                         begin with the state of an image or another stage
    ENV CMD LABEL USER …         change the config                   (engine/dockerfile/config.py)
    ARG                          set a build variable, which the config does not store
    RUN COPY ADD WORKDIR         add a layer, from the cache or newly made
    ONBUILD                      store a trigger in the config, for builds FROM this image

A layer is looked up in the cache by its key. On a miss it is made in the build's entry of staging/,
moved into the store and added to the cache.
"""

from __future__ import annotations

import os

from minidock.engine.build import copy_step, run_step
from minidock.engine.build.base_images import full_name
from minidock.engine.build.instruction_text import format_instruction
from minidock.engine.build.run_mount_flag import read_mounts
from minidock.engine.build.source_tree import Source
from minidock.engine.build.stage_plan import ErrorLocation
from minidock.engine.dockerfile import config as dockerfile_config
from minidock.engine.dockerfile.config import arg_pairs
from minidock.engine.image.build_cache import key_of
from minidock.engine.store.stories import recording_story
from minidock.oci.digest import chain_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.engine.build.builder import Builder
    from minidock.engine.build.progress import Vertex
    from minidock.engine.build.stage_plan import Stage
    from minidock.engine.build.stage_state import State
    from minidock.engine.build.step_layer import StepOverlay
    from minidock.engine.build.step_sources import StepSources
    from minidock.engine.dockerfile.instruction import Instruction
    from minidock.engine.image.layers import StagedLayer


class StageBuilder:
    """Executes the instructions of one stage and updates its state."""

    def __init__(self, builder: Builder, files: StepSources, stage: Stage, state: State) -> None:
        self._builder = builder
        self._files = files
        self._stage = stage
        self._state = state
        self._cmd_is_set = False
        self._step = 1 if stage.has_image else 0
        self._steps = stage.step_count
        self._uses_cache = builder.uses_cache(stage)

    def build(self) -> State:
        """Execute all instructions; returns the final state."""
        triggers = self._builder.triggers(self._state, self._stage)
        self._steps += sum(one.keyword in ("RUN", "COPY", "ADD", "WORKDIR") for one in triggers)
        if self._stage.has_image:
            self._show_base()
        for instruction in [*triggers, *self._stage.instructions]:
            self._builder.check_cancelled()
            with ErrorLocation(instruction):
                self._execute(instruction)
        return self._state

    def _execute(self, instruction: Instruction) -> None:
        keyword = instruction.keyword
        if keyword == "RUN":
            self._run(instruction)
        elif keyword in ("COPY", "ADD"):
            self._copy(instruction)
        elif keyword == "ARG":
            self._arg(instruction)
        else:
            self._change_config(instruction)

    def _change_config(self, instruction: Instruction) -> None:
        """Execute an instruction that changes the config; WORKDIR also makes its directory."""
        state = self._state
        history = dockerfile_config.apply(
            state.config, instruction, state.variables, cmd_is_set=self._cmd_is_set
        )
        if instruction.keyword == "CMD":
            self._cmd_is_set = True
        elif instruction.keyword == "MAINTAINER":
            state.author = instruction.text
        elif instruction.keyword == "ENV":
            state.variables.update(dockerfile_config.pairs(instruction, state.variables))
        if instruction.keyword == "WORKDIR":
            self._workdir(instruction, history)
        elif history:
            state.note(history)

    def _arg(self, instruction: Instruction) -> None:
        """ARG: set a variable from --build-arg, its default, or the global ARG."""
        state, builder = self._state, self._builder
        pairs = arg_pairs(instruction, state.variables)
        for name, default in pairs:
            value = builder.build_arg(name, default)
            if value is not None:
                state.variables[name] = value
            state.build_args.append((name, value or ""))
        text = " ".join(n if d is None else f"{n}={d}" for n, d in pairs)
        state.note(f"ARG {text}")

    def _workdir(self, instruction: Instruction, history: str) -> None:
        state = self._state
        path, user = state.working_directory, str(state.config.get("User") or "")
        if path == "/":
            state.note(history)
            return
        key = key_of("workdir", state.top, path, user)
        self._layer_step(
            instruction,
            history,
            lambda: key,
            lambda overlay, vertex: copy_step.make_working_directory(path, user, overlay),
        )

    def _run(self, instruction: Instruction) -> None:
        state, builder = self._state, self._builder
        options = builder.options
        command = run_step.Command(instruction, state, options)
        mounts = read_mounts(instruction, state.variables, state.working_directory)
        args = [(n, state.variables.get(n, v)) for n, v in state.build_args]

        def key() -> str:
            return key_of(
                "run", state.top, command.arguments, state.environment, command.network,
                state.config.get("User") or "", state.working_directory, options.extra_hosts,
                command.script, options.binds,
                [[*mount.key(), self._files.mount_key(mount, self._stage)] for mount in mounts],
            )  # fmt: skip

        def execute(overlay: StepOverlay, vertex: Vertex) -> None:
            from minidock.engine.build import run_container, run_mounts

            try:
                ready = self._files.prepare_mounts(mounts, self._stage, overlay, command)
                run_container.run(
                    builder.store, options, state, command, ready, overlay,
                    home=builder.staging, running=builder.running, output=vertex.write,
                )  # fmt: skip
            finally:
                run_mounts.release(mounts)

        self._layer_step(instruction, run_step.created_by(command, args), key, execute)

    def _copy(self, instruction: Instruction) -> None:
        state = self._state
        copy = copy_step.Copy(instruction, state)
        sources: list[Source] = []
        origin = instruction.flag("from")

        def key() -> str:
            found = self._files.sources(copy, self._stage, origin)
            sources.extend(found)
            return copy.key(state.top, copy_step.checksums(found))

        def execute(overlay: StepOverlay, vertex: Vertex) -> None:
            copy_step.copy_sources(copy, sources, overlay)

        quick = self._files.quick_key(copy, self._stage, origin, state)
        self._layer_step(instruction, copy.created_by(), key, execute, quick=quick)

    def _layer_step(
        self,
        instruction: Instruction,
        history: str,
        key: Callable[[], str],
        execute: Callable[[StepOverlay, Vertex], None],
        *,
        quick: str = "",
    ) -> None:
        """Add a layer: from the cache, by its key, or made by `execute`.

        key: computed when the step runs. quick: a second key that needs no checksums of the copied
        files, "" for none.
        """
        self._step += 1
        builder, state = self._builder, self._state
        description = format_instruction(instruction, state.variables)
        vertex = builder.progress.vertex(self._step_name(description))
        with builder.record_failure(vertex, instruction):
            found = builder.cache.find(quick) if quick and self._uses_cache else None
            if found is None:
                name = key()
                found = builder.cache.find(name) if self._uses_cache else None
                if found is not None and quick:
                    builder.cache.alias(quick, found, description=description)
            if found is not None:
                vertex.cached()
            else:
                # Imported on a cache miss only.
                from minidock.engine.build.step_layer import StepOverlay

                vertex.begin()
                overlay = StepOverlay(builder.new_path(), state.directories(builder.store))
                title = f"build {os.path.basename(builder.staging)} {self._step_name(description)}"
                with recording_story(builder.store.build_journal, title):
                    execute(overlay, vertex)
                    layer = overlay.layer()
                found = builder.cache.add(
                    name, self._chain_id(layer), layer, description=description
                )
                if quick:
                    builder.cache.alias(quick, found, description=description)
                vertex.done()
        state.add_layer(found.diff_id, found.created, history)

    def _chain_id(self, layer: StagedLayer) -> str:
        return chain_ids([*self._state.diff_ids, layer.diff_id])[-1]

    def _show_base(self) -> None:
        vertex = self._builder.progress.vertex(
            self._step_name(f"FROM {full_name(self._stage.image)}")
        )
        vertex.cached()

    def _step_name(self, description: str) -> str:
        """The name of a step in progress: "[2/4] RUN make"; with several stages "[name 2/4] …"."""
        width = len(str(self._steps))
        name = f"{self._stage.shown} " if self._builder.has_several_stages else ""
        return f"[{name}{self._step:>{width}}/{self._steps}] {description}"
