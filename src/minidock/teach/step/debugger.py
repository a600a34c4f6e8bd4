"""step: a debugger for the making of a container.

    journal (j) ──► Debugger: shows the act that is about to be done, and asks a person
    turn (t)    ──►           step, next, continue: g; abort: q   (engine/monitor/step_gate.py)
                              inspect: what the kernel says now   (kernel_view.py)
                              sh: X, a process in the container as far as it is made

It stands before an act: everything above it in the journal is done, and nothing else. It ends where
the command runs. What is unmade after an abort, or an act that failed, is told but not asked about.

Words come from stdin, a line each, so that a script may say them too; what is shown goes to stderr,
since stdout is the container's. The end of stdin, Ctrl-C, and the death of this process are aborts.
"""

from __future__ import annotations

import json
import os
import signal

from minidock.engine.monitor import protocol
from minidock.engine.monitor.attach import Attachment, Conversation
from minidock.errors import MinidockError
from minidock.kernel.terminal import get_size
from minidock.numerals import is_decimal
from minidock.teach.journal_reader import Told, load_ops
from minidock.teach.op_page import explain_ops, ops_named
from minidock.teach.page import Page, cut, time_text
from minidock.teach.step import kernel_view
from minidock.teach.step.breaks import Breaks
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

GO, ABORT = b"g", b"q"
PROMPT = "(step) "
QUIET = ("continue", "c", "chapter")  # the words that do not list what they pass


class Debugger:
    """Shows each act before it is done, and asks what to do.

    out, language: where and in what acts are told. read_line: prompts, and returns the line that is
    typed then, None at the end.
    """

    def __init__(
        self,
        container: Container,
        *,
        out: TextIO,
        language: Language,
        read_line: Callable[[str], str | None],
    ) -> None:
        load_ops()
        self._container = container
        self._out = out
        self._read_line = read_line
        self._page = Page(out, language)
        self._story = story_of(container, self._page)
        self._say("Nothing is done yet. `help` tells the words; `step` does one act.")
        self._next: Told | None = None  # the act that is about to be done
        self._open: dict[tuple[str, int], tuple[Told, bool]] = {}  # under way; shown in full?
        self._init_pid = 0
        self._breaks = Breaks()
        self._steps = 1  # how many acts until it stops; 0: not by number
        self._leaving: str | tuple[str, str] | None = None  # the phase or the chapter
        self._quietly = 0  # how many acts `continue` has passed
        self._last_word = "step"
        self._socket: _socket.socket | None = None
        self._signal = Interrupt()
        self._over = False

    # What the conversation with the monitor calls

    def on_record(self, line: str) -> None:
        """Follow the journal."""
        record = json.loads(line)
        process = (record["actor"], record["pid"])
        if self._over:
            return
        if "begin" in record:
            self._next = Told(record)
            self._open[process] = self._next, False
        elif process in self._open:
            told, in_full = self._open.pop(process)
            told.finish(record)
            self._outcome(told, in_full=in_full)

    def on_turn(self, socket: _socket.socket) -> bytes:
        """Whether the act told last shall be done: b"g", or b"q" for an abort."""
        assert self._next is not None
        self._socket = socket
        told = self._next
        if self._signal.came:
            return self._abort()
        if not self._stops_before(told):
            return GO
        self._stand_before(told)
        try:
            with self._signal.at_prompt():
                return self._ask(socket)
        except KeyboardInterrupt:
            self._say("")
            return self._abort()

    def on_started(self) -> None:
        """The command runs: a Ctrl-C that came too late to abort is for the command."""
        self._tell_passed()
        self._say("made: the command runs")
        self._over = True
        self._signal.restore()
        if self._signal.came and self._socket is not None:
            self._socket.send(protocol.message(b"k", {"signal": int(signal.SIGINT)}))

    # Where it stops, and what is shown there

    def _stops_before(self, told: Told) -> bool:
        if self._steps:
            self._steps -= 1
            if not self._steps:
                return True
        if self._leaving and self._leaving not in (_phase(told), told.chapter):
            return True
        return self._breaks.stop_before(told.record["op"])

    def _stand_before(self, told: Told) -> None:
        self._tell_passed()
        self._steps, self._leaving = 0, None
        self._story.write(told)
        process = (told.record["actor"], told.record["pid"])
        self._open[process] = told, True

    def _outcome(self, told: Told, *, in_full: bool) -> None:
        record = told.record
        if record["op"] == "namespace.clone_process" and isinstance(told.made, int):
            self._init_pid = told.made
        how = _how_it_went(told)
        colour = "2" if told.errno is None else "1;31"
        if told.errno is not None and self._last_word != "abort":
            self._steps = 1  # what comes next is what an error makes of it
        if in_full:
            self._say(self._page.paint(colour, f"         {how}"))
        elif self._last_word in QUIET and told.errno is None:
            self._quietly += 1
        else:
            self._tell_passed()
            name = f"{record['actor']:>8} {record['begin']:>4}   {record['op']}"
            self._say(self._page.paint(colour, f"{name:<50} {how}"))

    def _tell_passed(self) -> None:
        if self._quietly:
            self._say(f"         … {self._quietly} more")
        self._quietly = 0

    # The words

    def _ask(self, socket: _socket.socket) -> bytes:
        """Hear words until one of them decides."""
        while True:
            line = self._read_line(PROMPT)
            if line is None:
                self._say("")
                return self._abort()
            word, _, rest = (line.strip() or self._last_word).partition(" ")
            answer = self._decide(word, rest.strip())
            if answer is not None:
                self._last_word = line.strip() or self._last_word
                return answer
            self._look(word, rest.strip(), socket)

    def _decide(self, word: str, rest: str) -> bytes | None:
        """The answer of a word that ends the pause; None for one that does not."""
        told = self._next
        assert told is not None
        if word in ("step", "s") and (not rest or (is_decimal(rest) and int(rest))):
            self._steps = int(rest or 1)
        elif word in ("next", "n") and not rest:
            self._leaving = _phase(told)
        elif word == "chapter" and not rest:
            self._leaving = told.chapter
        elif word in ("continue", "c") and not rest:
            pass
        elif word in ("abort", "a", "quit", "q", "exit") and not rest:
            return self._abort()
        else:
            return None
        return GO

    def _abort(self) -> bytes:
        self._last_word = "abort"
        self._tell_passed()
        self._say("unmaking what was made:")
        return ABORT

    def _look(self, word: str, rest: str, socket: _socket.socket) -> None:
        """A word that changes nothing of the container."""
        if word in ("inspect", "i") and not rest:
            kernel_view.show(self._container, self._init_pid, self._out)
        elif word in ("list", "l") and not rest and self._next is not None:
            self._story.write(self._next)
        elif word in ("explain", "e"):
            self._explain(rest)
        elif word in ("break", "b"):
            self._say(self._breaks.add(rest) if rest else self._breaks.told())
        elif word in ("delete", "d") and rest:
            self._say(self._breaks.remove(rest))
        elif word == "sh":
            self._shell(rest, socket)
        elif word in ("help", "h", "?"):
            self._out.write(HELP)
        else:
            self._say(f"{word}: no such word, or not so; `help` tells them all")

    def _explain(self, name: str) -> None:
        assert self._next is not None
        if ops := ops_named(name or self._next.record["op"]):
            explain_ops(ops, self._page, as_json=False)
        else:
            self._say(f"{name}: no such operation")

    def _shell(self, command: str, socket: _socket.socket) -> None:
        """A shell in the container as far as it is made; back at its end."""
        terminal = not command and os.isatty(0) and os.isatty(1)
        if not command and not terminal:
            self._say("sh: there is no terminal for a shell; `sh COMMAND` runs one command")
            return
        for warning in kernel_view.warnings(self._container, self._init_pid):
            self._say(warning)
        self._out.flush()
        attachment = Attachment(stdin=terminal)
        request = {"Cmd": ["sh", "-c", command] if command else ["sh"], "Tty": terminal}
        size = list(get_size(1)) if terminal else None
        streams = attachment.streams()
        socket.send(protocol.message(b"X", {"request": request, "attach": streams, "size": size}))
        try:
            code = Conversation(socket, attachment, terminal=terminal).hold()
        except MinidockError as error:
            self._say("\n  hint: ".join([f"sh: {error}", *error.hint.splitlines()]))
            return
        if code:
            self._say(f"exit code {code}")

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


def _how_it_went(told: Told) -> str:
    if told.errno is not None:
        return f"failed: {reason(told)}"
    made = json.dumps(told.made) if isinstance(told.made, dict) else told.made
    return f"done in {time_text(told.us or 0)}" + ("" if made is None else cut(f" -> {made}", 60))


def _phase(told: Told) -> str:
    return str(told.record["phase"]).partition(".<locals>")[0]
