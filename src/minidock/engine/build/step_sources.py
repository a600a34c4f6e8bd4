"""The source trees of COPY and ADD and the mounts of RUN, for one build.

A tree is opened on first use and closed at the end of the build.
"""

from __future__ import annotations

import os

from minidock.engine.build import copy_step
from minidock.engine.build.checksum import checksum
from minidock.engine.build.entitlements import check_fetch
from minidock.engine.build.run_mount_flag import Mount
from minidock.engine.build.source_tree import Source, Tree
from minidock.engine.dockerfile.dockerfile_error import DockerfileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.builder import Builder
    from minidock.engine.build.copy_step import Copy
    from minidock.engine.build.run_step import Command
    from minidock.engine.build.stage_plan import Stage
    from minidock.engine.build.stage_state import State
    from minidock.engine.build.step_layer import StepOverlay


class StepSources:
    """The sources of COPY, ADD and RUN --mount in one build."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._open: list[Tree] = []

    def __enter__(self) -> StepSources:
        return self

    def __exit__(self, *error: object) -> None:
        for tree in self._open:
            tree.close()
        self._open.clear()

    def _keep_open(self, tree: Tree) -> Tree:
        self._open.append(tree)
        return tree

    # COPY and ADD

    def sources(self, copy: Copy, stage: Stage, origin: str) -> list[Source]:
        """The sources of a COPY or ADD, in order.

        origin: the value of --from, "" for the context.
        """
        found: list[Source] = []
        tree: Tree | None = None
        for name in copy.names:
            if copy.keyword == "ADD" and copy_step.is_remote(name):
                check_fetch(name, self._builder.options)
                from minidock.engine.build.add_remote import fetch_tree

                fetched_tree = self._keep_open(fetch_tree(copy, name, self._builder.new_path()))
                found += copy_step.all_sources(fetched_tree)
                continue
            tree = tree or self._open_source(stage, origin)
            found += copy_step.find_sources(copy, name, tree)
        if copy.heredocs:
            path = self._builder.new_path()
            heredocs = self._keep_open(copy_step.heredoc_tree(copy.heredocs, path))
            found += [Source(heredocs, name) for name, _ in copy.heredocs]
        return found

    def quick_key(self, copy: Copy, stage: Stage, origin: str, state: State) -> str:
        """A cache key for COPY --from by the source stage's layers, without checksums; else ""."""
        if not origin:
            return ""
        source = self._builder.state_of(stage.needs[origin])
        return copy.key(state.top, "from", source.top, copy.names)

    def _open_source(self, stage: Stage, origin: str) -> Tree:
        if not origin:
            return self._keep_open(self._builder.context.tree())
        source = self._builder.state_of(stage.needs[origin])
        from minidock.engine.build.step_layer import open_stage

        lowers = source.directories(self._builder.store)
        root = open_stage(lowers, self._builder.new_path())
        return self._keep_open(Tree(root, what=f"{origin}"))

    # RUN --mount

    def mount_key(self, mount: Mount, stage: Stage) -> str:
        """The part of the cache key for a mount's content."""
        if mount.kind != "bind":
            return ""
        origin = mount.options.get("from", "")
        if origin:
            return self._builder.state_of(stage.needs[origin]).top
        with self._builder.context.tree() as tree:
            return self._checksum(tree, mount)

    def _checksum(self, tree: Tree, mount: Mount) -> str:
        try:
            return checksum(tree, mount.source)
        except FileNotFoundError:
            raise DockerfileError(
                f'failed to calculate checksum of {tree.what}: "/{mount.source}": not found'
            ) from None

    def prepare_mounts(
        self, mounts: list[Mount], stage: Stage, overlay: StepOverlay, command: Command
    ) -> list[Mount]:
        """Prepare the sources of a RUN's mounts; returns the mounts, without absent secrets."""
        from minidock.engine.build import run_mounts

        builder = self._builder
        ready = []
        caches = [mount for mount in mounts if mount.kind == "cache"]
        for mount in sorted(
            caches, key=run_mounts.cache_name
        ):  # a fixed lock order avoids deadlock
            self._acquire_cache(mount, stage)
        for number, mount in enumerate(mounts):
            mount.scratch = f"{overlay.path}/mount-{number}"
            if mount.kind == "secret":
                if not run_mounts.load_secret(mount, builder.options.secrets):
                    continue
            elif mount.kind == "bind":
                os.mkdir(mount.scratch, 0o700)
                mount.lowers = self._lowers(mount, stage)
            ready.append(mount)
        if command.script is not None:
            ready.append(self._script_mount(command.script, overlay))
        return ready

    def _lowers(self, mount: Mount, stage: Stage) -> list[str]:
        """The lowerdirs of a bind: a stage's layers, or a copy of the context."""
        origin = mount.options.get("from", "")
        if origin:
            state = self._builder.state_of(stage.needs[origin])
            return state.directories(self._builder.store)
        return [self._snapshot(mount)]

    def _snapshot(self, mount: Mount) -> str:
        """Copy the context without ignored files, owned by root; returns the directory."""
        from minidock.engine.build.copy_tree import Copier

        folder = self._builder.new_path()
        os.mkdir(folder, 0o755)
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with (
                self._builder.context.tree() as tree,
                Copier(root, owner=None, mode=None) as copier,
            ):
                copier.copy(tree, mount.source, f"/{mount.source}")
        finally:
            os.close(root)
        return folder

    def _acquire_cache(self, mount: Mount, stage: Stage) -> None:
        from minidock.engine.build import run_mounts
        from minidock.engine.build.copy_tree import Copier

        origin = mount.options.get("from", "")

        def fill(folder: str) -> None:
            root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with Copier(root, owner=None, mode=None) as copier:
                    copier.copy(self._open_source(stage, origin), mount.source, "/")
            finally:
                os.close(root)

        run_mounts.acquire_cache(
            mount,
            self._builder.store,
            check_cancelled=self._builder.check_cancelled,
            fill=fill if origin else None,
        )

    def _script_mount(self, script: tuple[str, str], overlay: StepOverlay) -> Mount:
        """The mount of /dev/pipes, with the here-document script."""
        name, content = script
        mount = Mount("bind", {"target": "/dev/pipes"})
        mount.scratch = f"{overlay.path}/script"
        os.makedirs(f"{mount.scratch}/lower", mode=0o755)
        path = f"{mount.scratch}/lower/{os.path.basename(name)}"
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
        os.chmod(path, 0o755)
        mount.lowers = [f"{mount.scratch}/lower"]
        return mount
