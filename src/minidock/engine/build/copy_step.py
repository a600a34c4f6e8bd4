"""COPY, ADD and WORKDIR: the steps that write files without running a command.

    COPY [--from=STAGE] [--chown=U:G] [--chmod=755] SOURCE... DESTINATION
    ADD  as COPY from the context; unpacks local archives, fetches URLs and git repositories
    <<EOF as a source: a here-document, copied as a file of that name

Source: docs.docker.com/reference/dockerfile "COPY", "ADD", "WORKDIR".
"""

from __future__ import annotations

import os
import posixpath

from minidock.engine.build.checksum import checksum
from minidock.engine.build.source_tree import Source, Tree
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.heredoc import heredoc_of
from minidock.engine.dockerfile.word_expansion import expand, expand_heredoc
from minidock.engine.image.build_cache import key_of
from minidock.kernel.files import work_on_files
from minidock.numerals import is_decimal, octal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.stage_state import State
    from minidock.engine.build.step_layer import StepOverlay
    from minidock.engine.dockerfile.instruction import Instruction


class Copy:
    """A parsed COPY or ADD.

    names: the sources, variables expanded, without here-documents. heredocs: the here-documents as
    (name, content). destination: an absolute path; a trailing "/" means a directory.
    """

    def __init__(self, instruction: Instruction, state: State) -> None:
        escape, variables = instruction.escape, state.variables

        def expand_word(text: str) -> str:
            return expand(text, variables, escape=escape)

        self.keyword = instruction.keyword
        words = instruction.words()
        self.names: list[str] = []
        self.heredocs: list[tuple[str, bytes]] = []
        pending = list(instruction.heredocs)
        for word in words[:-1]:
            if pending and heredoc_of(word):
                heredoc = pending.pop(0)
                text = heredoc.text
                if heredoc.expand:
                    text = expand_heredoc(text, variables, escape=escape)
                self.heredocs.append((heredoc.name, text.encode(errors="surrogateescape")))
            else:
                self.names.append(expand_word(word))
        self.destination_text = expand_word(words[-1])
        self.destination = _absolute_path(self.destination_text, state.working_directory)
        self.chown = expand_word(instruction.flag("chown"))
        self.chmod = expand_word(instruction.flag("chmod"))
        self.checksum = expand_word(instruction.flag("checksum"))
        self.keeps_git = instruction.flag("keep-git-dir") == "true"
        self.mode = _parse_mode(self.chmod)

    def created_by(self) -> str:
        """The "created_by" of its history entry."""
        flags = [f"--chown={self.chown}"] if self.chown else []
        flags += [f"--chmod={self.chmod}"] if self.chmod else []
        heredocs = (f"<<{name}" for name, _ in self.heredocs)
        words = [self.keyword, *flags, *self.names, *heredocs, self.destination_text]
        return " ".join([*words, "# buildkit"])

    def key(self, top: str, *contents: object) -> str:
        """Its key in the build cache."""
        return key_of("copy", top, self.destination, self.chown, self.mode, *contents)


def is_remote(name: str) -> bool:
    """Whether a source of ADD is remote: a URL or a git repository."""
    return name.startswith(("http://", "https://", "git://", "git@", "ssh://"))


def find_sources(copy: Copy, name: str, tree: Tree) -> list[Source]:
    """Find the files of a tree that one source of a COPY names.

    Raises DockerfileError if there are none.
    """
    try:
        paths = tree.find(name)
    except FileNotFoundError as error:
        raise DockerfileError(
            f'failed to calculate checksum of {tree.what}: "{error.filename or name}": not found',
            hint="is it in .dockerignore?" if tree.ignore else "",
        ) from None
    except ValueError as error:
        raise DockerfileError(str(error)) from None
    extracts = copy.keyword == "ADD" and tree.extracts
    return [Source(tree, path, extract=extracts) for path in paths]


def all_sources(tree: Tree) -> list[Source]:
    """All sources of a fetched tree: the entries of its root, or the root itself."""
    if tree.is_whole:
        return [Source(tree, "")]
    return [Source(tree, name) for name in sorted(os.listdir(tree.root))]


def checksums(sources: list[Source]) -> list[tuple[str, str]]:
    """Base name and checksum of each source, for the cache key."""
    return [(posixpath.basename(source.path), checksum(source.tree, source.path))
            for source in sources]  # fmt: skip


def copy_sources(copy: Copy, sources: list[Source], overlay: StepOverlay) -> None:
    """Copy the sources of a COPY or ADD into the step's overlay.

    Raises Conflict, UsageError for an owner that is unknown in the image.
    """
    from minidock.engine.build.copy_tree import Copier

    root = overlay.open()

    def copy_all() -> None:
        owner = resolve_owner(root, copy.chown)
        with Copier(root, owner=owner, mode=copy.mode) as copier:
            for source in sources:
                if source.extract and _is_archive(source):
                    os.close(copier.make_directories(copy.destination))
                    _extract(source, root, copy.destination)  # --chown does not apply
                else:
                    copier.copy(source.tree, source.path, copy.destination)

    try:
        work_on_files(copy.destination, copy_all)
    finally:
        os.close(root)


def make_working_directory(path: str, user: str, overlay: StepOverlay) -> None:
    """WORKDIR: make the directory if it is missing, owned by the current USER."""
    from minidock.engine.build.copy_tree import Copier

    root = overlay.open()

    def make() -> None:
        with Copier(root, owner=resolve_owner(root, user), mode=None) as copier:
            os.close(copier.make_directories(path))

    try:
        work_on_files(path, make)
    finally:
        os.close(root)


def resolve_owner(root: int, text: str) -> tuple[int, int] | None:
    """The uid and gid of --chown: "user", "user:group"; a single number is both uid and gid."""
    if not text:
        return None
    from minidock.engine.container.user import resolve_user

    if is_decimal(text):
        text = f"{text}:{text}"
    user, _ = resolve_user(f"/proc/self/fd/{root}", text, [])
    return user["uid"], user["gid"]


def heredoc_tree(heredocs: list[tuple[str, bytes]], folder: str) -> Tree:
    """Write here-documents as files into a new directory; returns it as a source tree."""
    os.mkdir(folder, 0o755)
    for name, content in heredocs:
        with open(f"{folder}/{os.path.basename(name)}", "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Tree(root, what="a here-document", owner=(0, 0))


def _is_archive(source: Source) -> bool:
    from minidock.engine.build.extract import is_archive  # imports hashlib, tar: ADD only

    return is_archive(source)


def _extract(source: Source, root: int, folder: str) -> None:
    from minidock.engine.build.extract import extract

    extract(source, root, folder, None)


def _absolute_path(path: str, working_directory: str) -> str:
    """The absolute path of a destination, with a trailing "/" if it must be a directory."""
    is_directory = path.endswith(("/", "/.")) or path in (".", "")
    clean = posixpath.normpath(posixpath.join("/", working_directory, path))
    clean = "/" + clean.lstrip("/")
    return clean + "/" if is_directory and clean != "/" else clean


def _parse_mode(text: str) -> int | None:
    if not text:
        return None
    try:
        mode = octal(text)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise DockerfileError(
            f"Invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        )
    return mode
