"""Twins: the operations of a story as commands for a root shell.

    $ a command to paste                              # a command for reading only

The shell takes the part of the acting process. At clone3 it becomes init (`unshare … sh`); when the
container's command exits, it is the monitor again. Operations of the monitor meanwhile become
comments, and so do operations that had nothing to do, failed, or wait for another process.

Long paths are variables, which the story's head assigns; everything else is written in full.
Source: POSIX, Shell Command Language.
"""

from __future__ import annotations

import re

from minidock.kernel.mount import flag_words
from minidock.kernel.op import MASK, REGISTRY
from minidock.teach.script.shell_quoting import Variables, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.kernel.record import Call
    from minidock.teach.journal_reader import JournalEntry

_NOTHING_DONE = ("absent", "there", "ended")
_SAFE_PATH = re.compile(r"[A-Za-z0-9/._+-]*")
_QUOTED_VARIABLE = re.compile(r'"(\$[A-Z]+[^"\s$\\`]*)"')
_BYTE = re.compile(r"\$\{(NL|X[0-9A-F]{2})\}")  # as script/shell_quoting.py has them
_KEPT = ("nosuid", "nodev", "noexec")  # flags that `mount -o remount,bind,ro` would clear

# After pivot_root the host's programs are out of reach, and few images have a complete setpriv: the
# shell keeps the host's, with its libraries, open by a descriptor. It is called by its path, since
# busybox's shell prefers its own applet.
TOOLS = """\
TOOLS=$(mktemp -d) && chmod 755 $TOOLS && cp $(command -v setpriv) $TOOLS/setpriv.bin
cp $(ldd $TOOLS/setpriv.bin | grep -o '/[^ ]*') $TOOLS && mv $TOOLS/ld-* $TOOLS/ld.so
echo 'd=${0%/*}; exec $d/ld.so --library-path $d $d/setpriv.bin "$@"' > $TOOLS/setpriv
chmod 755 $TOOLS/setpriv && exec 9<$TOOLS && export SETPRIV=/proc/self/fd/9/setpriv
""".splitlines()
_NEEDS_TOOLS = ("capability.set_bounding", "process.set_user")


class Twins:
    """Writes the twins of a story's ops in order.

    values: long path -> the name of its variable. with_tools: whether the head has TOOLS.
    gettext: translates the first words of comments.
    """

    def __init__(
        self, values: dict[str, str], *, with_tools: bool, gettext: Callable[[str], str]
    ) -> None:
        self._gettext = gettext
        self._setpriv = "exec $SETPRIV " if with_tools else "exec setpriv "
        self._variables = Variables(values)
        self._plain = all(_SAFE_PATH.fullmatch(value) for value in values)
        self._shell = ""  # id prefix of the process that the shell plays; "": the monitor
        self._flags: dict[str, str] = {}  # mount point -> flags that a remount must repeat

    def write(self, entry: JournalEntry) -> str:
        """The twin of an entry; lines that begin with # are comments."""
        record, _ = entry.record, self._gettext
        if record["op"] not in REGISTRY or not record["twin"]:
            return ""
        stem = str(record.get("id", "")).rpartition(".")[0]
        whose = self._shell
        self._follow_shell(entry)
        twin = self._twin(record)
        if twin.startswith("#"):
            return twin
        if entry.errno is not None or entry.made in _NOTHING_DONE:
            return _comment(_("not done"), twin)
        if entry.waits:
            return _comment(_("waits"), twin)
        if whose and not f"{stem}.".startswith(f"{whose}."):
            return _comment(_("in another shell"), twin)
        if any(entry.endswith(f"={MASK}") for entry in record["args"].get("environment", [])):
            return _comment(_("with the values of its environment"), twin)
        return twin

    def _follow_shell(self, entry: JournalEntry) -> None:
        """Update which process the shell plays."""
        record = entry.record
        if record["op"] == "namespace.clone_process" and entry.errno is None:
            self._shell = str(record.get("id", ""))
        elif record["op"] == "process.execute" and entry.errno is None:
            self._shell = ""

    def _twin(self, record: Call) -> str:
        args, op = record["args"], REGISTRY[record["op"]]
        twin = op.twin(**args)
        if "\n" not in twin:  # a here-document stays as it is
            twin = command(op.twin(**self._variables.mark(args)))
            if self._plain:
                twin = _QUOTED_VARIABLE.sub(r"\1", twin)
            twin = _assigned(twin) + twin
        twin = twin.replace("exec setpriv ", self._setpriv, 1)
        target = str(args.get("target", ""))
        if record["op"] == "mount.mount_filesystem":
            words = [word for word in flag_words(args["flags"]) if word in _KEPT]
            self._flags[target] = "".join(f"{word}," for word in words)
        elif record["op"] == "mount.set_mount_attributes":
            twin = twin.replace("remount,bind,", f"remount,bind,{self._remount_flags(target)}", 1)
        return twin

    def _remount_flags(self, target: str) -> str:
        above = [p for p in self._flags if target == p or target.startswith(f"{p}/")]
        return self._flags[max(above, key=len)] if above else ""


def _assigned(twin: str) -> str:
    """Assignments of the variables for control characters."""
    assigned = ""
    for name in sorted(set(_BYTE.findall(twin))):
        octal = "\\n" if name == "NL" else f"\\{int(name[1:], 16):03o}"
        assigned += f"{name}=$(printf '{octal}.') && {name}=${{{name}%.}} && "
    return assigned


def needs_tools(ops: list[JournalEntry]) -> bool:
    """Whether a story needs the host's setpriv after pivot_root."""
    names = {entry.record["op"] for entry in ops}
    return "mount.pivot_root" in names and bool(names.intersection(_NEEDS_TOOLS))


def _comment(reason: str, twin: str) -> str:
    return "\n".join(f"# {reason}: {line}" for line in twin.splitlines())
