"""`run` and `create`: create a container from an image.

The flags become Docker's ContainerCreate body (run_flags.py); the engine does the rest. This module
prints the ID, writes the --cidfile and returns the exit code.
"""

from __future__ import annotations

import os
import sys

from minidock.cli.flags.run_flags import container_create_body, run_flags
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.pflag import FlagType, switch, value, values
from minidock.cli.frame.require_terminal import require_terminal
from minidock.errors import ImageNotFound, MinidockError, NameInUse, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from minidock.cli.flags.flag_values import RunFlags
    from minidock.document_types.container import CreateBody
    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.attach import Attachment
    from minidock.teach.language import Language


def _explanation(text: str) -> str:
    if text not in ("text", "json", "true", "false"):
        raise ValueError('"text" or "json"')
    return {"true": "text", "false": ""}.get(text, text)


@command("IMAGE [COMMAND] [ARG...]", at_least=1, flags_first=True, failure=125, complete=images)
@run_flags
@switch("-d", "--detach", help="Run in the background, and print the container ID")
@switch("--sig-proxy", default=True, help="Forward received signals to the process")
@value(
    "--explain",
    type=FlagType("[=text|json]", _explanation),
    bare="text",
    help="Print each kernel call as it happens",
)
@switch("--step", help="Pause before each kernel call that creates the container, and prompt")
@value("--lang", help="Language of --explain and --step (en, ru; default from LANG)")
@values("--without", help="Omit an isolation (pid, mount, net, ...) and report what leaks")
@switch("--yes-in-a-vm", help="Allow --without mount or pivot_root outside a virtual machine")
def run(
    arguments: tuple[str, ...],
    *,
    detach: bool,
    sig_proxy: bool,
    explain: str | None,
    step: bool,
    lang: str | None,
    without: tuple[str, ...],
    yes_in_a_vm: bool,
    **flags: Unpack[RunFlags],
) -> int:
    """Create a container from an image and start it"""
    if step and (detach or explain or without):
        flag = "--detach" if detach else "--explain" if explain else "--without"
        raise _conflict_with_step(flag)
    output_language = _language(lang, report_text=bool(explain or step))
    body = container_create_body(flags, arguments, detach=detach)
    isolations = _leave_out(body, without, yes_in_a_vm=yes_in_a_vm)
    attachment = None if detach else _attachment(body, flags["detach_keys"], sig_proxy=sig_proxy)
    store = Store()
    container = _create(store, body, flags)
    if step and output_language is not None:
        from minidock.cli.verbs.step import run_in_steps

        return run_in_steps(container, attachment, output_language)
    listener, view = _listener(container, explain, output_language, isolations)
    return _start(store, container, attachment, listener, view)


def _conflict_with_step(flag: str) -> UsageError:
    because = {
        "--detach": "--step prompts on the terminal, which --detach gives up",
        "--explain": "--step already prints each operation, before it runs",
        "--without": "the probes of --without need a container that starts without pauses",
    }
    return UsageError(f"--step and {flag} exclude each other", hint=because[flag])


@command(
    "IMAGE [COMMAND] [ARG...]",
    at_least=1,
    flags_first=True,
    failure=None,
    complete=images,
)
@run_flags
def create(arguments: tuple[str, ...], **flags: Unpack[RunFlags]) -> None:
    """Create a container without starting it"""
    body = container_create_body(flags, arguments)
    try:
        print(_create(Store(), body, flags).id)
    except MinidockError as error:
        error.exit_code = 1  # the flags are well formed, but cannot be satisfied
        raise


def _create(store: Store, body: CreateBody, flags: RunFlags) -> Container:
    """Create the container, and write its ID to --cidfile, which must not exist."""
    from minidock.engine.container.validation import warnings_of

    id_file = _IdFile(flags["cidfile"])
    try:
        if flags["pull"] == "always":
            _pull(store, body, flags)
        container = _create_or_pull(store, body, flags)
    except NameInUse as error:
        id_file.remove()
        if flags["name"]:
            error.hint = _taken(flags["name"])
        raise
    except BaseException:
        id_file.remove()
        raise
    id_file.write(container.id)
    for warning in warnings_of(body):
        print(f"WARNING: {warning}", file=sys.stderr, flush=True)
    return container


def _create_or_pull(store: Store, body: CreateBody, flags: RunFlags) -> Container:
    """Create the container; pull its image if it is missing and --pull allows it."""
    from minidock.engine.container.create import create as create_container

    name = flags["name"] or None
    try:
        return create_container(store, body, name=name)
    except ImageNotFound as error:
        if flags["pull"] != "missing":
            error.hint = _where_from(store, body["Image"])
            raise
    if not flags["quiet"]:
        print(f"Unable to find image '{_tagged(body['Image'])}' locally", file=sys.stderr)
    _pull(store, body, flags)
    return create_container(store, body, name=name)


def _pull(store: Store, body: CreateBody, flags: RunFlags) -> None:
    from minidock.cli.verbs.pull import pull_for_container

    try:
        pull_for_container(store, body["Image"], platform=flags["platform"], quiet=flags["quiet"])
    except MinidockError as error:
        error.hint = f"{error.hint}\n{_where_from(store, body['Image'])}".lstrip("\n")
        raise


def _where_from(store: Store, name: str) -> str:
    from minidock.engine.image.image_hints import where_from

    return where_from(store, name)


def _leave_out(body: CreateBody, without: tuple[str, ...], *, yes_in_a_vm: bool) -> list[str]:
    """Apply --without to the body; returns the isolations that are omitted."""
    if not without:
        if yes_in_a_vm:
            raise UsageError("--yes-in-a-vm requires --without mount or --without pivot_root")
        return []
    from minidock.engine.doctor.virtual import is_virtual_machine
    from minidock.teach.without.isolations import leave_out, parse_isolations

    isolations = parse_isolations(without)
    leave_out(body, isolations, is_allowed=lambda: yes_in_a_vm or is_virtual_machine(Store()))
    return isolations


def _start(
    store: Store,
    container: Container,
    attachment: Attachment | None,
    on_record: Callable[[str], None] | None,
    view: str,
) -> int:
    from minidock.engine.lifecycle.start import start

    try:
        return start(store, container.id, attach=attachment, on_record=on_record, view=view) or 0
    finally:  # also after a failed start: the container exists, and this is its ID
        if attachment is None or not (attachment.stdout or attachment.stderr):
            print(container.id, flush=True)


def _language(lang: str | None, *, report_text: bool) -> Language | None:
    """Return the language of --explain and --step; None without them."""
    if not report_text:
        if lang is not None:
            raise UsageError("--lang requires --explain or --step", hint="add --explain")
        return None
    from minidock.teach.language import language

    return language(lang or "")


def _listener(
    container: Container,
    explain: str | None,
    output_language: Language | None,
    isolations: list[str],
) -> tuple[Callable[[str], None] | None, str]:
    """Return the callback for the monitor's records and its view, after printing warnings."""
    journal_printer = _narrator(container, explain, output_language)
    if not isolations:
        return journal_printer, ""
    from minidock.teach.without.report import VIEW, Report, warning

    sys.stderr.write(warning(isolations))
    return Report(
        isolations, sys.stderr, as_json=explain == "json", forward=journal_printer
    ).on_record, VIEW


def _narrator(
    container: Container, explain: str | None, output_language: Language | None
) -> Callable[[str], None] | None:
    """Return the callback for --explain, or None."""
    if output_language is None:
        return None
    from minidock.teach.explain import journal_printer

    return journal_printer(container, as_json=explain == "json", language=output_language)


def _attachment(body: CreateBody, detach_keys: str | None, *, sig_proxy: bool) -> Attachment | None:
    if not (body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]):
        return None
    from minidock.engine.monitor.attach import Attachment

    if body["Tty"] and body["AttachStdin"]:
        require_terminal("leave out -t, or -i")
    return Attachment(
        stdin=body["AttachStdin"],
        stdout=body["AttachStdout"],
        stderr=body["AttachStderr"],
        detach_keys=detach_keys or "ctrl-p,ctrl-q",
        sig_proxy=sig_proxy,
    )


def _tagged(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"


def _taken(name: str) -> str:
    return (
        f"minidock start -ai {name}     starts the existing container\n"
        f"minidock rm -f {name}         removes the existing container\n"
        "--name                        sets another name"
    )


class _IdFile:
    """The file of --cidfile: created before the container, removed if the creation fails."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        if not path:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o644)
        except FileExistsError:
            raise UsageError(
                "container ID file found, make sure the other container isn't running "
                f"or delete {path}"
            ) from None
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise UsageError(
                f"failed to create the container ID file: open {path}: {reason}"
            ) from error

    def write(self, container_id: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, container_id.encode())
            os.close(self._fd)

    def remove(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self._path)
