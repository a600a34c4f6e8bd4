"""step: a debugger for the creation of a container.

    journal (j) ──► Debugger: shows the next operation, and prompts for a command
    turn (t)    ──►           step, next, continue: g; abort: q   (engine/monitor/step_gate.py)
                              inspect: the state of the kernel    (kernel_view.py)
                              sh: X, a process in the unfinished container

It stops before an operation: all operations above it in the journal are done, and no others. It
ends when the command runs. The undo after an abort or an error is shown, but not stepped.

Commands come from stdin, one a line, from a person or a script, and from the page of `look`
(command_socket.py); output goes to stderr, since stdout belongs to the container. End of file on
stdin, Ctrl-C, and the death of this process abort.
"""

from __future__ import annotations

import json
import os
import signal

from minidock.engine.monitor import protocol
from minidock.engine.monitor.attach import Attachment, MonitorConnection
from minidock.errors import MinidockError
from minidock.kernel.terminal import get_size
from minidock.numerals import is_decimal
from minidock.teach.journal_reader import JournalEntry, load_ops
from minidock.teach.op_page import explain_ops, ops_named
from minidock.teach.page import Page, time_text, truncate
from minidock.teach.step import kernel_view
from minidock.teach.step.breaks import Breakpoints
from minidock.teach.step.debugger_commands import HELP
from minidock.teach.step.prompt import Interrupt
from minidock.teach.story import reason, story_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.language import Language

GO, ABORT = protocol.CONTINUE, protocol.ABORT
PROMPT = "(step) "
SILENT_COMMANDS = ("continue", "c", "chapter")  # these do not list the operations that they pass


class Debugger:
    """Shows each operation before it is done, and prompts for a command.

    out, language: of the output. read_line: prompts before an
    operation, given by its id, and returns a line, None at end of file.
    """

    def __init__(
        self,
        container: Container,
        *,
        out: TextIO,
        language: Language,
        read_line: Callable[[str, str], str | None],
    ) -> None:
        load_ops()
        self._container = container
        self._out = out
        self._read_line = read_line
        self._page = Page(out, language)
        self._story = story_of(container, self._page)
        self._say("Nothing is done yet. `help` lists the commands; `step` does one operation.")
        self._next: JournalEntry | None = None  # the next operation
        self._announced = 0  # operations so far, that one included
        self._open: dict[
            tuple[str, int], tuple[JournalEntry, bool]
        ] = {}  # in progress; shown in full?
        self._init_pid = 0
        self._breakpoints = Breakpoints()
        self._steps = 1  # operations until it stops; 0: no count
        self._until_leaving: str | tuple[str, str] | None = None  # stop after this phase or chapter
        self._passed = 0  # operations that `continue` has passed
        self._last_command = "step"
        self._socket: _socket.socket | None = None
        self._signal = Interrupt()
        self._over = False

    # Callbacks of the connection to the monitor

    def on_record(self, line: str) -> None:
        """Read a record of the journal."""
        record = json.loads(line)
        process = (record["actor"], record["pid"])
        if self._over:
            return
        if "begin" in record:
            self._next = JournalEntry(record)
            self._next.number = self._announced = self._announced + 1
            self._open[process] = self._next, False
        elif process in self._open:
            entry, in_full = self._open.pop(process)
            entry.finish(record)
            self._outcome(entry, in_full=in_full)

    def on_step(self, socket: _socket.socket) -> bytes:
        """Decide about the next operation: GO or ABORT."""
        assert self._next is not None
        self._socket = socket
        entry = self._next
        if self._signal.came:
            return self._abort()
        if not self._is_stop(entry):
            return GO
        self._stop_at(entry)
        try:
            with self._signal.at_prompt():
                return self._prompt(socket)
        except KeyboardInterrupt:
            self._say("")
            return self._abort()

    def on_started(self) -> None:
        """The command runs: a Ctrl-C that came too late to abort goes to it."""
        self._report_passed()
        self._say("created: the command runs")
        self._over = True
        self._signal.restore()
        if self._signal.came and self._socket is not None:
            self._socket.send(protocol.message(protocol.SIGNAL, {"signal": int(signal.SIGINT)}))

    # Where it stops, and what it shows

    def _is_stop(self, entry: JournalEntry) -> bool:
        if self._steps:
            self._steps -= 1
            if not self._steps:
                return True
        if self._until_leaving and self._until_leaving not in (_phase(entry), entry.chapter):
            return True
        return self._breakpoints.stop_before(entry.record["op"])

    def _stop_at(self, entry: JournalEntry) -> None:
        self._report_passed()
        self._steps, self._until_leaving = 0, None
        self._story.write(entry)
        process = (entry.record["actor"], entry.record["pid"])
        self._open[process] = entry, True

    def _outcome(self, entry: JournalEntry, *, in_full: bool) -> None:
        record = entry.record
        if record["op"] == "namespace.clone_process" and isinstance(entry.made, int):
            self._init_pid = entry.made
        how = _result_text(entry)
        colour = "2" if entry.errno is None else "1;31"
        if entry.errno is not None and self._last_command != "abort":
            self._steps = 1  # stop at the first operation of the undo
        if in_full:
            self._say(self._page.paint(colour, f"         {how}"))
        elif self._last_command in SILENT_COMMANDS and entry.errno is None:
            self._passed += 1
        else:
            self._report_passed()
            name = f"{record['actor']:>8} {record['begin']:>4}   {record['op']}"
            self._say(self._page.paint(colour, f"{name:<50} {how}"))

    def _report_passed(self) -> None:
        if self._passed:
            self._say(f"         … {self._passed} more")
        self._passed = 0

    # Commands

    def _prompt(self, socket: _socket.socket) -> bytes:
        """Execute commands until one of them decides."""
        assert self._next is not None
        while True:
            line = self._read_line(PROMPT, self._next.record["id"])
            if line is None:
                self._say("")
                return self._abort()
            verb, _, argument = (line.strip() or self._last_command).partition(" ")
            answer = self._decide(verb, argument.strip())
            if answer is not None:
                self._last_command = line.strip() or self._last_command
                return answer
            self._run_query(verb, argument.strip(), socket)

    def _decide(self, verb: str, argument: str) -> bytes | None:
        """The answer of a command that ends the pause; None for any other."""
        entry = self._next
        assert entry is not None
        if verb in ("step", "s") and (not argument or (is_decimal(argument) and int(argument))):
            self._steps = int(argument or 1)
        elif verb in ("next", "n") and not argument:
            self._until_leaving = _phase(entry)
        elif verb == "chapter" and not argument:
            self._until_leaving = entry.chapter
        elif verb in ("continue", "c") and not argument:
            pass
        elif verb in ("abort", "a", "quit", "q", "exit") and not argument:
            return self._abort()
        else:
            return None
        return GO

    def _abort(self) -> bytes:
        self._last_command = "abort"
        self._report_passed()
        self._say("undoing what was done:")
        return ABORT

    def _run_query(self, verb: str, argument: str, socket: _socket.socket) -> None:
        """Execute a command that does not change the container."""
        if verb in ("inspect", "i") and not argument:
            kernel_view.show(self._container, self._init_pid, self._out)
        elif verb in ("list", "l") and not argument and self._next is not None:
            self._story.write(self._next)
        elif verb in ("explain", "e"):
            self._explain(argument)
        elif verb in ("break", "b"):
            self._say(
                self._breakpoints.add(argument) if argument else self._breakpoints.list_text()
            )
        elif verb in ("delete", "d") and argument:
            self._say(self._breakpoints.remove(argument))
        elif verb == "sh":
            self._shell(argument, socket)
        elif verb in ("help", "h", "?"):
            self._out.write(HELP)
        else:
            self._say(f"{verb}: unknown command or arguments; `help` lists the commands")

    def _explain(self, name: str) -> None:
        assert self._next is not None
        if ops := ops_named(name or self._next.record["op"]):
            explain_ops(ops, self._page, as_json=False)
        else:
            self._say(f"{name}: no such operation")

    def _shell(self, command: str, socket: _socket.socket) -> None:
        """Run a shell or a command in the unfinished container."""
        terminal = not command and os.isatty(0) and os.isatty(1)
        if not command and not terminal:
            self._say("sh: a shell needs a terminal; `sh COMMAND` runs one command")
            return
        for warning in kernel_view.warnings(self._container, self._init_pid):
            self._say(warning)
        self._out.flush()
        attachment = Attachment(stdin=terminal)
        request = {"Cmd": ["sh", "-c", command] if command else ["sh"], "Tty": terminal}
        size = list(get_size(1)) if terminal else None
        streams = attachment.streams()
        body = {"request": request, "attach": streams, "size": size}
        socket.send(protocol.message(protocol.EXEC, body))
        try:
            code = MonitorConnection(socket, attachment, terminal=terminal).relay()
        except MinidockError as error:
            self._say("\n  hint: ".join([f"sh: {error}", *error.hint.splitlines()]))
            return
        if code:
            self._say(f"exit code {code}")

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


def _result_text(entry: JournalEntry) -> str:
    if entry.errno is not None:
        return f"failed: {reason(entry)}"
    made = json.dumps(entry.made) if isinstance(entry.made, dict) else entry.made
    return f"done in {time_text(entry.us or 0)}" + (
        "" if made is None else truncate(f" -> {made}", 60)
    )


def _phase(entry: JournalEntry) -> str:
    return str(entry.record["phase"]).partition(".<locals>")[0]
