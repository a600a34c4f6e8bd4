"""The folders of labs: those that come with minidock, and a student's.

    labs/NN-name/skeleton/    the files that lab NN adds for the student to write
    labs/NN-name/solution/    the files in which the reference solution differs

Labs are stacked like layers: lab N starts from skeleton 0, solution 0, skeleton 1, …, skeleton N,
later files over earlier ones. For C, skeleton-c and solution-c of the labs that have them.

submission_files.py and submission_folder.py read and write a student's folder, which may change
meanwhile.
"""

from __future__ import annotations

import os
import re
from errno import ENOENT

import minidock
from minidock.errors import KernelError, MinidockError, NotFound, UsageError
from minidock.teach.lab.submission_files import Files
from minidock.teach.lab.submission_folder import open_folder, read_file

MARKER_FILE = ".lab.toml"  # written by `lab start`: the lab of a folder
_MAX_MARKER_BYTES = 4096


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
        """The files with which a student starts this lab.

        Raises NotFound if it has no skeleton in this language.
        """
        own = Files.read(self._kind("skeleton", language))
        below = Files()
        for lab in list_labs():
            if lab.number < self.number and language in lab.languages():
                for kind in ("skeleton", "solution"):
                    below = Files.read(lab._kind(kind, language)).over(below)
        return own.over(below)

    def solution(self, language: str = "python") -> Files:
        """The reference solution: the starting files, completed."""
        return Files.read(self._kind("solution", language)).over(self.start(language))

    def _kind(self, kind: str, language: str) -> str:
        folder = f"{self.folder}/{kind}" + ("" if language == "python" else f"-{language}")
        if not os.path.isdir(folder):
            others = ", ".join(self.languages())
            raise NotFound(
                f"lab {self.name} has no {os.path.basename(folder)}",
                hint=f"available: {others}; the grader accepts a program in any language",
            )
        return folder

    def handouts(self) -> dict[str, str]:
        """The names of its handouts: language of the text, such as "en" or "ru" -> file name."""
        names = "\n".join(sorted(os.listdir(self.folder)))
        found = re.findall(r"^README(?:\.([a-z]+))?\.md$", names, re.M)
        return {name or "en": f"README.{name}.md" if name else "README.md" for name in found}

    def languages(self) -> list[str]:
        """The languages in which it has a skeleton."""
        names = "\n".join(sorted(os.listdir(self.folder)))
        found = re.findall(r"^skeleton(?:-(\w+))?$", names, re.M)
        return [name or "python" for name in found]


def labs_folder() -> str:
    """The directory of the labs: in the package, or beside the source tree."""
    package = os.path.dirname(os.path.abspath(minidock.__file__))
    for folder in (f"{package}/labs", f"{package}/../../labs"):
        if os.path.isdir(folder):
            return os.path.realpath(folder)
    raise MinidockError(
        f"the labs are missing: {package}/labs",
        hint="reinstall minidock: its package contains them",
    )


def list_labs() -> list[Lab]:
    """All labs, sorted by number."""
    folder = labs_folder()
    names = sorted(
        name for name in os.listdir(folder) if re.fullmatch(r"[0-9]{2}-[a-z0-9-]+", name)
    )
    return [Lab(f"{folder}/{name}") for name in names]


def find(wanted: str) -> Lab:
    """Find a lab by its number ("3", "03") or its name ("03-processes", "processes").

    Raises NotFound.
    """
    for lab in list_labs():
        names = {lab.name, lab.name[3:], str(lab.number), f"{lab.number:02}"}
        if wanted in names:
            return lab
    raise NotFound(f"no such lab: {wanted}", hint="see minidock lab list")


# A student's folder ------------------------------------------------------------------------------


def format_marker(lab: Lab, language: str) -> bytes:
    """The contents of MARKER_FILE."""
    return f'lab = "{lab.name}"\nlanguage = "{language}"\n'.encode()


def read_marker(directory: str) -> tuple[Lab, str]:
    """The lab of a folder, and its language.

    Raises NotFound without a MARKER_FILE, UsageError for an invalid one.
    """
    import tomllib

    try:
        with open_folder(directory) as folder:
            marker = tomllib.loads(read_file(folder, MARKER_FILE, _MAX_MARKER_BYTES).decode())
        return find(str(marker["lab"])), str(marker.get("language", "python"))
    except KernelError as error:
        if error.errno != ENOENT:
            raise
        raise NotFound(
            f"{os.path.abspath(directory)} was not made by `lab start`: it has no {MARKER_FILE}",
            hint="minidock lab start LAB DIR makes one; check and hint also take --lab LAB",
        ) from None
    except (KeyError, ValueError, RecursionError) as error:
        raise UsageError(f"{directory}/{MARKER_FILE}: {error}") from None


def choose_lab(directory: str, named: str = "") -> Lab:
    """The lab of this name, or by default the one in the folder's MARKER_FILE."""
    if named:
        return find(named)
    return read_marker(directory)[0]
