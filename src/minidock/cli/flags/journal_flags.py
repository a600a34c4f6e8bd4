"""The flags that `explain` and `look` share: those that select a journal, and --unfold's rows.

    --exec ID, --health, --cp     a journal of the container
    --build, --network NAME       a journal of the store

At most one of them may be given. Without any, the journal is that of the container's last run. The
journals: teach/subject.py.
"""

from __future__ import annotations

from minidock.cli.frame.pflag import switch, value
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.cli.frame.pflag import Decorator, F
    from minidock.engine.container.containers import Container
    from minidock.teach.subject import Subject

OF_STORE = ("--build", "--network")


def journal_flags(verb: str) -> Decorator:
    """Declare the flags. verb: the first word of their help texts."""
    flags = (
        value("--exec", help=f"{verb} an exec session of the container, by its ID or 'last'"),
        switch("--health", help=f"{verb} the last probe of the container's health check"),
        switch("--cp", help=f"{verb} the last copy into or out of the container"),
        switch("--build", help=f"{verb} the last build that created a layer"),
        value(
            "--network", help=f"{verb} the operations of a network, its connects and disconnects"
        ),
    )

    def declare(function: F) -> F:
        for flag in reversed(flags):  # as if they stood there, one below the other
            function = flag(function)
        return function

    return declare


def chosen_flag(given: Mapping[str, object]) -> tuple[str, str]:
    """The flag that was given, such as "--exec", and its value; two "" for none.

    given: the values of the flags, by the names of their parameters. Raises UsageError for two.
    """
    names = ("exec", "health", "cp", "build", "network")
    found = [(f"--{name}", str(given[name])) for name in names if given[name]]
    if len(found) > 1:
        raise UsageError(
            f"{' and '.join(flag for flag, _ in found)}: these flags exclude each other"
        )
    return found[0] if found else ("", "")


def check_rows(unfold: tuple[str, ...]) -> None:
    """Refuse unknown rows. unfold: the values of --unfold. Raises UsageError."""
    if not unfold:
        return
    from minidock.teach.look.rows import ROWS

    for row in unfold:
        if row not in ROWS:
            raise UsageError(f'--unfold: unknown row "{row}"', hint=f"one of {', '.join(ROWS)}")


def subject_of_store(flag: str, name: str) -> Subject:
    """The subject of a flag in OF_STORE. Raises NotFound, DamagedFile."""
    from minidock.teach import subject

    return subject.build_of(Store()) if flag == "--build" else subject.network_of(Store(), name)


def subject_of(container: Container, flag: str, wanted: str) -> Subject:
    """The subject of another flag, or of none: the last run. Raises NotFound, DamagedFile."""
    from minidock.teach import subject

    if flag == "--exec":
        return subject.exec_of(container, wanted)
    of_container = {"": subject.run_of, "--health": subject.health_of, "--cp": subject.copy_of}
    return of_container[flag](container)
