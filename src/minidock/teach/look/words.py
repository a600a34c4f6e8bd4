"""The words of the exported page, in the reader's language."""

from __future__ import annotations

from minidock.teach.look.beside_words import words_of_two
from minidock.teach.look.lecture_words import words_of_lecture
from minidock.teach.look.packet_words import words_of_packet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def words(_: Callable[[str], str]) -> dict[str, str]:
    """Key of a text in page/*.js and page/look.html -> the text."""
    return {
        **_of_controls(_),
        **_of_picture(_),
        **_of_details(_),
        **_of_host_kinds(_),
        **_of_kinds(_),
        **_of_now(_),
        **_of_layers(_),
        **words_of_two(_),
        **_of_stepped_run(_),
        **words_of_packet(_),
        **words_of_lecture(_),
    }


def _of_controls(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "play": _("Play"),
        "pause": _("Pause"),
        "first": _("To the start"),
        "back": _("One step back"),
        "forward": _("One step forward"),
        "last": _("To the end"),
        "speed": _("Speed"),
        "scrub": _("Position in the journal"),
        "zoom": _("Zoom"),
        "isolations": _("Isolations"),
        "phases": _("Phases"),
        "operations": _("Operations"),
        "theme": _("Dark or light"),
        "large": _("Large type for a class"),
        "table": _("Table"),
        "keys": _("Keyboard"),
        "container": _("Container"),
        "details": _("Details"),
        "replay": _("Replay"),
        "close": _("Close"),
        "more": _("Show more rows"),
        "key_play": _("play, pause"),
        "key_step": _("one step back, forward"),
        "key_ends": _("to the start, to the end"),
        "key_zoom": _("isolations, phases, operations"),
        "key_speed": _("slower, faster"),
        "key_things": _("next tile; then the things in it"),
        "key_select": _("what made it"),
        "predict": _("Predict"),
        "what_next": _("What is done next?"),
        "reveal": _("Show it"),
        "is_right": _("Yes."),
        "is_wrong": _("No. Try again."),
        "key_predict": _("predict first: the next step is hidden"),
        "key_modes": _("table, dark or light, large type"),
        "key_close": _("back to the current operation"),
    }


def _of_picture(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "picture": _("The host at the left, the container at the right"),
        "lanes": _("The processes in time"),
        "host": _("Host"),
        "inside": _("Container"),
        "host_processes": _("Processes of minidock"),
        "host_files": _("Files"),
        "host_cgroup": _("cgroups and limits"),
        "host_network": _("Network"),
        "host_root": _("the host's root"),
        "old_root": _("host's /"),
        "image_layers": _("layers of the image"),
        "other": _("the process"),
        "command": _("command"),
        "waits": _("waits"),
        "own": _("its own"),
        "joined": _("shared"),
        "left": _("{n} of {all} left"),
        "instructions": _("{n} BPF instructions"),
        "hidden_more": _("and {n} more"),
        "start": _("before the first operation"),
    }


def _of_details(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "step_of": _("operation {n} of {all}"),
        "in_shell": _("The same in a shell"),
        "copy": _("Copy"),
        "copied": _("Copied"),
        "manual": _("Manual page"),
        "without": _("Without it"),
        "probes": _("Probes of --without that test it"),
        "try": _("Try it"),
        "made_by": _("The operations that made it"),
        "row_ops": _("Its operations"),
        "none": _("no operation"),
        "what_changes": _("What it changes"),
        "failed": _("failed"),
        "arguments": _("Arguments"),
        "result": _("Result"),
        "number": _("No."),
        "process": _("Process"),
        "operation": _("Operation"),
        "thing": _("Thing"),
        "time": _("Time"),
        "row": _("Isolation"),
        "count": _("Operations"),
        "made": _("What it made"),
        "table_rows": _("Isolations, and what was done for each"),
        "table_now": _("What is there now"),
        "table_ops": _("All operations"),
        "state": _("State"),
        "on": _("there"),
        "ready": _("prepared"),
        "off": _("gone"),
    }


def _of_host_kinds(_: Callable[[str], str]) -> dict[str, str]:
    """The kinds of things on the host; thing.TILES has all kinds."""
    return {
        "kind:engine": _("command"),
        "kind:monitor": _("monitor"),
        "kind:helper": _("helper"),
        "kind:image layer": _("image layer"),
        "kind:host root": _("the host's root"),
        "kind:host cgroup": _("cgroup"),
        "kind:limit": _("limit"),
        "kind:bridge": _("bridge"),
        "kind:veth": _("veth"),
        "kind:port": _("published port"),
        "kind:firewall": _("firewall"),
        "kind:host setting": _("setting"),
    }


def _of_kinds(_: Callable[[str], str]) -> dict[str, str]:
    """The kinds of things of the container."""
    return {
        "kind:init": _("process"),
        "kind:command": _("command"),
        "kind:exec": _("process"),
        "kind:PID namespace": _("PID namespace"),
        "kind:mount namespace": _("mount namespace"),
        "kind:mount": _("mount"),
        "kind:network namespace": _("network namespace"),
        "kind:interface": _("interface"),
        "kind:route": _("route"),
        "kind:net setting": _("setting"),
        "kind:UTS namespace": _("UTS namespace"),
        "kind:name": _("name"),
        "kind:IPC namespace": _("IPC namespace"),
        "kind:ipc setting": _("setting"),
        "kind:cgroup namespace": _("cgroup namespace"),
        "kind:old root": _("the host's tree"),
        "kind:root": _("the root directory"),
        "kind:filter": _("seccomp filter"),
        "kind:capability": _("capability"),
        "kind:capability setting": _("setting"),
        "kind:mask": _("mask"),
        "kind:device": _("device"),
        "kind:device rule": _("device rule"),
        "kind:layer": _("layer"),
        "kind:files": _("files"),
        "kind:user namespace": _("user namespace"),
        "kind:user": _("user"),
        "kind:stream": _("stream"),
        "kind:process setting": _("setting"),
    }


def _of_now(_: Callable[[str], str]) -> dict[str, str]:
    """What the page shows while it is served."""
    return {
        "now": _("Now"),
        "waiting": _("No container has been started yet. This page shows each one as it is made."),
        "lost": _("No connection: is `minidock look` still running?"),
        "removed": _("removed"),
        "memory": _("memory"),
        "pids": _("processes"),
        "cpu": _("CPU"),
        "cpu_pressure": _("CPU pressure"),
        "memory_pressure": _("memory pressure"),
        "io_pressure": _("I/O pressure"),
        "oom_kill": _("OOM kills: {n}"),
        "throttled": _("throttled: {n} periods"),
        "pid_host": _("host"),
        "pid_inside": _("inside"),
        "name": _("name"),
        "sockets": _("Sockets that listen"),
        "differs": _("Not as the journal says"),
        "differs_on": _("{kind} {thing}: there now"),
        "differs_off": _("{kind} {thing}: gone now"),
        "differs_value": _("{kind} {thing}: {journal} in the journal, {now} now"),
        "all_agrees": _("All as the journal says"),
    }


def _of_layers(_: Callable[[str], str]) -> dict[str, str]:
    """The layers of a container, and the X-ray, while the page is served."""
    return {
        "xray": _("Which layer answers for a path?"),
        "path": _("Path"),
        "look_up": _("Look it up"),
        "made_by_step": _("made by"),
        "size": _("size"),
        "own_layer": _("the container's own layer"),
        "written": _("What it has written"),
        "layers_now": _("Its layers"),
        "nothing": _("nothing"),
        "role:seen": _("this one is seen"),
        "role:merged": _("merged with it"),
        "role:content": _("has its content"),
        "role:hidden": _("hidden"),
        "new_change": _("new"),
        "added": _("added"),
        "changed": _("changed"),
        "deleted": _("deleted"),
        "opaque": _("hidden below"),
    }


def _of_stepped_run(_: Callable[[str], str]) -> dict[str, str]:
    """A `run --step`, while the page is served."""
    return {
        "stepping": _("Step by step"),
        "waits_before": _("Waits before operation {n}: {op}"),
        "goes_on": _("It goes on …"),
        "terminal_busy": _("Its terminal is in use, or it is stopped."),
        "order_step": _("Do it"),
        "order_next": _("Next phase"),
        "order_chapter": _("Next process or module"),
        "order_continue": _("Continue to the end"),
        "order_abort": _("Abort"),
        "order_sure": _("Really undo all? Press again"),
        "key_orders": _("run --step: do the operation, next phase, continue"),
    }
