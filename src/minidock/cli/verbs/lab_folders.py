"""`lab list`, `start`, `reset` and `hint`: the working directories of students."""

from __future__ import annotations

import os

from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch, value
from minidock.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.lab.folder import Lab
    from minidock.teach.lab.rubric import Rubric


@command(needs_root=False)
def list_(arguments: tuple[str, ...]) -> None:
    """List the labs: number, name, minutes, languages, subject"""
    from minidock.cli.output.columns import align
    from minidock.teach.lab import folder, rubric

    lines = ["LAB\tTIME\tLANGUAGES\tABOUT"]
    for lab in folder.list_labs():
        rules = rubric.read(lab.folder)
        languages = ", ".join(lab.languages())
        lines.append(f"{lab.name}\t{rules.minutes} min\t{languages}\t{rules.about}")
    print("\n".join(align(lines)))


@command("LAB [DIR]", at_least=1, at_most=2, needs_root=False)
@value(
    "--language", default="python", help="Language of the skeleton: python; some labs also have c"
)
@value("--lang", help="Language of the handout to read (en, ru; default from LANG)")
def start(arguments: tuple[str, ...], *, language: str, lang: str | None) -> None:
    """Create a directory with the files a lab starts from

    LAB: its number or name. DIR: a new or empty directory (default: the name of the lab). It
    contains the handout in each language, and the solutions of the previous labs. Its owner is the
    owner of the parent directory, even if root runs this command.
    """
    from minidock.teach.lab import folder
    from minidock.teach.lab.submission_folder import create_folder
    from minidock.teach.language import language_name

    lab = folder.find(arguments[0])
    directory = arguments[1] if len(arguments) > 1 else lab.name
    handouts = lab.handouts()
    handout = handouts.get(language_name(lang or ""), "README.md")
    files = lab.start(language)
    for name in handouts.values():
        with open(f"{lab.folder}/{name}", "rb") as file:
            files.put(name, file.read())
    files.put(folder.MARKER_FILE, folder.format_marker(lab, language))
    with create_folder(directory) as fd:
        if os.listdir(fd):
            raise Conflict(
                f"{directory} is not empty",
                hint="name another directory, or restore the lab's files: minidock lab reset",
            )
        files.write_into(fd)
    _tell(directory, lab, handout)


@command("[DIR]", at_most=1, needs_root=False)
@switch("-f", "--force", help="Do not ask for confirmation")
def reset(arguments: tuple[str, ...], *, force: bool) -> None:
    """Restore the original files of a lab; other files stay, replaced files are saved

    A file that differs from the original is renamed to NAME.mine.
    """
    from minidock.cli.frame.confirm import confirm
    from minidock.teach.lab import folder
    from minidock.teach.lab.submission_files import Files
    from minidock.teach.lab.submission_folder import back_up, open_folder

    directory = arguments[0] if arguments else "."
    lab, language = folder.read_marker(directory)
    files = lab.start(language)
    now = Files.read(directory)
    changed = [name for name in files.names() if name in now and now.text(name) != files.text(name)]
    if changed and not force and not confirm(f"This replaces {', '.join(changed)}."):
        return
    with open_folder(directory) as fd:
        for name in changed:
            back_up(fd, name, ".mine")
        files.write_into(fd)
    for name in changed:
        print(f"{name}: restored; your version is {name}.mine")


@command("[ITEM]", at_most=1, needs_root=False)
@value("--dir", default=".", help="The directory that `lab start` created")
@value("--lab", default="", help="The lab, if there is no such directory")
def hint(arguments: tuple[str, ...], *, dir: str, lab: str) -> None:
    """Print the hint of an item, or all hints"""
    from minidock.teach.lab import folder, rubric

    about = folder.choose_lab(dir, lab)
    rules = rubric.read(about.folder)
    if arguments:
        check_item(about, rules, arguments[0])
    for item in rules.items:
        if not arguments or item.name == arguments[0]:
            print(f"{item.name} ({item.points} points): {' '.join(item.expect.split())}")
            print(f"  hint: {' '.join(item.hint.split())}")


def check_item(lab: Lab, rules: Rubric, name: str) -> None:
    """Raise NotFound if a lab has no item of this name."""
    names = [item.name for item in rules.items]
    if name not in names:
        raise NotFound(f"lab {lab.name} has no item {name}", hint=f"its items: {', '.join(names)}")


def _tell(directory: str, lab: Lab, handout: str) -> None:
    print(f"{directory}: lab {lab.number:02}, ready to begin")
    print(f"  read   {directory}/{handout}")
    print(f"  check  sudo minidock lab check {directory}")
