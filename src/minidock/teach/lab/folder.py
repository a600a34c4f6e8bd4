"""Folders of labs: those that come with minidock, and a student's.

    labs/NN-name/skeleton/    what lab NN adds for the student to write
    labs/NN-name/solution/    the files in which the reference differs from that

Labs lie over each other like layers: the start of lab N is skeleton 0, solution 0, skeleton 1, …,
skeleton N, later files over earlier ones. In C it is skeleton-c and solution-c, of those labs that
have them.

A folder is read into memory (`Files`), and written from there: a link in a submission is kept as a
link and never followed, since it is root who reads.
"""

from __future__ import annotations

import os
import re
import stat

import minidock
from minidock.errors import MinidockError, NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = ".lab.toml"  # written by `lab start`: which lab a folder is about
_MOST_FILES, _MOST_BYTES = 2000, 32 << 20
_NOT_TAKEN = {".git", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".ruff_cache"}


class Files:
    """Files by their path in a folder: each a mode and its bytes, or where a link points."""

    def __init__(self) -> None:
        self._modes: dict[str, int] = {}
        self._data: dict[str, bytes] = {}
        self._bytes = 0

    @classmethod
    def read(cls, folder: str) -> Files:
        """What is in a folder.

        Raises UsageError for one that is too large to be a program.
        """
        files = cls()
        for name, status, data in _walk(folder):
            files.put(name, data, status.st_mode)
            if files.is_too_large():
                raise UsageError(
                    f"{folder} has more than {_MOST_FILES} files or {_MOST_BYTES >> 20} MiB",
                    hint="give the folder of your program alone",
                )
        return files

    def put(self, name: str, data: bytes, mode: int = stat.S_IFREG | 0o644) -> None:
        """Add a file, or replace it."""
        self._bytes += len(data) - len(self._data.get(name, b""))
        self._modes[name] = mode
        self._data[name] = data

    def over(self, lower: Files) -> Files:
        """These over those below."""
        both = Files()
        for files in (lower, self):
            for name, data in files._data.items():
                both.put(name, data, files._modes[name])
        return both

    def names(self) -> list[str]:
        """The paths, sorted."""
        return sorted(self._data)

    def mode(self, name: str) -> int:
        """A file's st_mode."""
        return self._modes[name]

    def is_executable(self, name: str) -> bool:
        """Whether a file may be executed."""
        return bool(self._modes[name] & 0o111)

    def is_too_large(self) -> bool:
        """Whether this is more than a program is."""
        return self._bytes > _MOST_BYTES or len(self._data) > _MOST_FILES

    def text(self, name: str) -> str:
        """A file as text. Raises KeyError."""
        return self._data[name].decode(errors="replace")

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def write(self, folder: str) -> None:
        """Write all of it into a folder that is there; what it has of these names is replaced."""
        for name, data in self._data.items():
            path = f"{folder}/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(path):
                os.unlink(path)
            mode = self._modes[name]
            if stat.S_ISLNK(mode):
                os.symlink(os.fsdecode(data), path)
                continue
            with open(path, "xb") as file:
                file.write(data)
            os.chmod(path, 0o755 if mode & 0o111 else 0o644)


def _walk(folder: str) -> Iterator[tuple[str, os.stat_result, bytes]]:
    """Every file and link below a folder: its name in there, what it is, its bytes or its target.

    Each is opened in the open directory that it was listed in: what is renamed meanwhile, or turned
    into a link, leads nowhere else.
    """
    for above, directories, names, fd in os.fwalk(folder, follow_symlinks=False):
        directories[:] = sorted(name for name in directories if name not in _NOT_TAKEN)
        for name in sorted((*directories, *names)):
            status = os.lstat(name, dir_fd=fd)
            path = os.path.relpath(f"{above}/{name}", folder)
            if stat.S_ISLNK(status.st_mode):
                yield path, status, os.fsencode(os.readlink(name, dir_fd=fd))
            elif stat.S_ISREG(status.st_mode):
                yield path, status, _contents(name, fd)


def _contents(name: str, directory: int) -> bytes:
    """A regular file's bytes; a link that has just taken its place is refused."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=directory), "rb") as file:
        return file.read(_MOST_BYTES + 1)  # one more than there may be: is_too_large sees it


# The labs that come with minidock ----------------------------------------------------------------


class Lab:
    """One of the labs: its number, its name, and its folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.name = os.path.basename(folder)
        self.number = int(self.name[:2])

    @property
    def exam_file(self) -> str:
        """The module with its probes."""
        return f"{self.folder}/exam_{self.number:02}.py"

    def start(self, language: str = "python") -> Files:
        """What a student starts this lab with.

        Raises NotFound where it has no skeleton in this language.
        """
        own = Files.read(self._kind("skeleton", language))
        below = Files()
        for lab in every():
            if lab.number < self.number and language in lab.languages():
                for kind in ("skeleton", "solution"):
                    below = Files.read(lab._kind(kind, language)).over(below)
        return own.over(below)

    def solution(self, language: str = "python") -> Files:
        """The reference: its start, and what is to be done done."""
        return Files.read(self._kind("solution", language)).over(self.start(language))

    def _kind(self, kind: str, language: str) -> str:
        folder = f"{self.folder}/{kind}" + ("" if language == "python" else f"-{language}")
        if not os.path.isdir(folder):
            others = ", ".join(self.languages())
            raise NotFound(
                f"lab {self.name} has no {os.path.basename(folder)}",
                hint=f"it comes in: {others}; the grader takes a program in any language",
            )
        return folder

    def languages(self) -> list[str]:
        """In which languages it has a skeleton."""
        names = "\n".join(sorted(os.listdir(self.folder)))
        found = re.findall(r"^skeleton(?:-(\w+))?$", names, re.M)
        return [name or "python" for name in found]


def labs_folder() -> str:
    """Where the labs are: in the package, or beside the source that it runs from."""
    package = os.path.dirname(os.path.abspath(minidock.__file__))
    for folder in (f"{package}/labs", f"{package}/../../labs"):
        if os.path.isdir(folder):
            return os.path.realpath(folder)
    raise MinidockError(
        f"the labs are not where minidock looks for them: {package}/labs",
        hint="install minidock anew: its package holds them",
    )


def every() -> list[Lab]:
    """The labs, by their numbers."""
    folder = labs_folder()
    names = sorted(name for name in os.listdir(folder) if re.fullmatch(r"\d\d-[a-z0-9-]+", name))
    return [Lab(f"{folder}/{name}") for name in names]


def find(wanted: str) -> Lab:
    """A lab by its number ("3", "03") or its name ("03-processes", "processes").

    Raises NotFound.
    """
    for lab in every():
        names = {lab.name, lab.name[3:], str(lab.number), f"{lab.number:02}"}
        if wanted in names:
            return lab
    raise NotFound(f"no such lab: {wanted}", hint="see minidock lab list")


# A student's folder ------------------------------------------------------------------------------


def write_mark(directory: str, lab: Lab, language: str) -> None:
    """Note in a folder which lab it is about."""
    with open(f"{directory}/{MARK}", "w", encoding="utf-8") as file:
        file.write(f'lab = "{lab.name}"\nlanguage = "{language}"\n')


def mark_of(directory: str) -> tuple[Lab, str]:
    """Which lab a folder is about, and in which language it was started.

    Raises NotFound where it has no such note, UsageError where the note cannot be read.
    """
    import tomllib

    if not os.path.isdir(directory):
        raise NotFound(f"no such folder: {directory}")
    try:
        with open(f"{directory}/{MARK}", "rb") as file:
            mark = tomllib.load(file)
        return find(str(mark["lab"])), str(mark.get("language", "python"))
    except FileNotFoundError:
        raise NotFound(
            f"{os.path.abspath(directory)} was not made by `lab start`: it has no {MARK}",
            hint="minidock lab start LAB DIR makes one; check and hint also take --lab LAB",
        ) from None
    except (KeyError, ValueError) as error:
        raise UsageError(f"{directory}/{MARK}: {error}") from None


def lab_of(directory: str, named: str = "") -> Lab:
    """The lab that is named, or else the one that the folder is about."""
    if named:
        return find(named)
    return mark_of(directory)[0]
