"""The commands of `minidock-runtime` that create a process: create, run and exec.

    create         creates the container and exits; init's parent is then the subreaper, or PID 1
    run            creates, starts, waits in the foreground until the command exits, deletes
    run --detach   creates, starts, exits
    exec           runs one more process in the foreground; --detach: exits once it runs

They run out of the sealed interpreter. While one stays, it relays the command's streams and
forwards signals (runtime/foreground.py). When one exits at once, the command has the caller's own
streams, or a terminal whose master went to --console-socket.

Source: runc(8), runc-create(8), runc-run(8), runc-exec(8).
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.errors import Conflict, UsageError
from minidock.kernel.op import Journal, use_journal
from minidock.numerals import is_decimal
from minidock.runtime import lifecycle, state
from minidock.runtime.arguments import Call
from minidock.runtime.clone import compile_filter
from minidock.runtime.config_validation import check_process
from minidock.runtime.foreground import Foreground
from minidock.runtime.inherited import Inherited, keyring_name
from minidock.runtime.log import Log
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from minidock.document_types.runtime_spec import Capabilities, Process, RuntimeConfig, User


def create(call: Call, log: Log) -> int:
    """Create a container; its command does not run yet."""
    config = _prepare(call, log, stays=False)
    with UndoOnError() as undo:
        container = _create(call, config, stdio=None)
        undo.callback(_delete, call)
        _report_process(call, container.pid, container.console)
    return 0


def run(call: Call, log: Log) -> int:
    """Create a container, start it, and delete it once it has stopped."""
    stays = not call.flags["detach"]
    config = _prepare(call, log, stays=stays)
    foreground = Foreground(terminal=bool(config["process"].get("terminal"))) if stays else None
    if foreground is not None:
        foreground.set_console_size(config["process"])
    with UndoOnError() as undo:
        container = _create(call, config, stdio=foreground.stdio if foreground else None)
        undo.callback(_delete, call)
        _report_process(call, container.pid, container.console)
        lifecycle.start(container.state)
        container.await_exec()
        if foreground is None:
            return 0
        code = foreground.serve_until_exit(container.pid, container.pidfd, container.console)
        if not call.flags["keep"]:
            lifecycle.delete(call.options["root"], call.id, force=True, warn=log.warning)
    return code


def exec_(call: Call, log: Log) -> int:
    """Run one more process in a container."""
    from minidock.runtime import exec as entering

    use_debug_journal(call, log)
    _check_preserved_fds(call, activation_fds=0)
    known = state.load(call.options["root"], call.id)
    status = known.status
    if status == "paused" and not call.flags["ignore_paused"]:
        raise Conflict("cannot exec in a paused container", hint="use --ignore-paused to override")
    if status in ("stopped", "creating"):
        raise Conflict(f"cannot exec in a {status} container")
    config = lifecycle.load_config(known.content["bundle"])
    spec = process_of(call, config)
    stays = not call.flags["detach"]
    _check_terminal(call, terminal=bool(spec.get("terminal")), stays=stays)
    foreground = Foreground(terminal=bool(spec.get("terminal"))) if stays else None
    if foreground is not None:
        foreground.set_console_size(spec)
    entered = entering.execute(
        known,
        config,
        spec,
        stdio=foreground.stdio if foreground else None,
        filter_program=compile_filter(config, _filter_cache(call)),
        preserved_fds=call.flags["preserve_fds"],
    )
    _report_process(call, entered.pid, entered.console)
    if foreground is None:
        return 0
    return foreground.serve_until_exit(entered.pid, os.pidfd_open(entered.pid), entered.console)


HANDLERS = {"create": create, "run": run, "exec": exec_}


def process_of(call: Call, config: RuntimeConfig) -> Process:
    """The OCI process object that exec's flags describe.

    Raises UsageError.
    """
    if call.flags["process"]:
        spec = _read_process(call.flags["process"])
    else:
        spec = _changed_process(call, config["process"])
    check_process(spec)
    return spec


def _read_process(path: str) -> Process:
    with open(path, encoding="utf-8") as file:
        try:
            spec: Process = jsontext.loads(file.read())
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from None
    if not isinstance(spec, dict):
        raise UsageError(f"{path}: not a JSON object")
    return spec


def _changed_process(call: Call, first: Process) -> Process:
    """The container's own process object with the changes of the flags."""
    flags = call.flags
    spec: Process = {**first, "args": call.arguments[1:], "terminal": flags["tty"]}
    spec["env"] = [*(first.get("env") or []), *(flags["env"] or [])]
    if flags["cwd"]:
        spec["cwd"] = flags["cwd"]
    if flags["apparmor"]:
        spec["apparmorProfile"] = flags["apparmor"]
    if flags["no_new_privs"]:
        spec["noNewPrivileges"] = True
    if flags["cap"]:
        sets: Capabilities = {**first.get("capabilities", {})}
        name: Literal["bounding", "effective", "permitted"]
        for name in ("bounding", "effective", "permitted"):
            sets[name] = [*(sets.get(name) or []), *flags["cap"]]
        spec["capabilities"] = sets
    spec["user"] = _changed_user(call, first.get("user", {}))
    return spec


def _changed_user(call: Call, first: User) -> User:
    """The container's own user object with the changes of the flags."""
    flags = call.flags
    user: User = {**first}
    if flags["user"]:
        uid, _, gid = flags["user"].partition(":")
        user["uid"] = _number(uid, "uid")
        if gid:
            user["gid"] = _number(gid, "gid")
    groups = [_number(word, "gid") for word in flags["additional_gids"] or []]
    user["additionalGids"] = [*(user.get("additionalGids") or []), *groups]
    return user


def _number(word: str, what: str) -> int:
    if not is_decimal(word):
        raise UsageError(f"parsing {word!r} as int for {what} failed")
    return int(word)


def _prepare(call: Call, log: Log, *, stays: bool) -> RuntimeConfig:
    """Validate the arguments before anything is created; returns the bundle's config."""
    _check_preserved_fds(call, activation_fds=_socket_activation_fds())
    use_debug_journal(call, log)
    state.directory_of(call.options["root"], call.id)
    bundle = call.flags["bundle"]
    if bundle and not os.path.isdir(bundle):
        raise UsageError(f"chdir {bundle}: no such file or directory")
    config = lifecycle.load_config(bundle or ".")
    spec = config["process"]
    _check_terminal(call, terminal=bool(spec.get("terminal")), stays=stays)
    if _socket_activation_fds():
        activation = [f"LISTEN_FDS={_socket_activation_fds()}", "LISTEN_PID=1"]
        config["process"] = {**spec, "env": [*(spec.get("env") or []), *activation]}
    return config


def _socket_activation_fds() -> int:
    """The number of sockets that systemd passes from descriptor 3 on: sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    return _number(os.environ.get("LISTEN_FDS", "0"), "LISTEN_FDS")


def _check_preserved_fds(call: Call, *, activation_fds: int) -> None:
    """Check that the preserved descriptors are open, and set close-on-exec for the hooks.

    A close-on-exec descriptor is our own: the caller did not pass that number.
    Raises UsageError.
    """
    call.flags["preserve_fds"] += activation_fds
    for descriptor in range(3, 3 + call.flags["preserve_fds"]):
        try:
            passed = os.get_inheritable(descriptor)
        except OSError:
            passed = False
        if not passed:
            raise UsageError(
                f"please check that preserved-fd {descriptor - 2} of "
                f"{call.flags['preserve_fds']} is present"
            )
        os.set_inheritable(descriptor, False)


def _check_terminal(call: Call, *, terminal: bool, stays: bool) -> None:
    socket = call.flags["console_socket"]
    if terminal and not stays and not socket:
        raise UsageError("cannot allocate tty if detached without setting console socket")
    if socket and (stays or not terminal):
        raise UsageError("cannot use console socket if not detached or without tty")


def _create(
    call: Call, config: RuntimeConfig, *, stdio: tuple[int, int, int] | None
) -> lifecycle.Container:
    return lifecycle.create(
        call.flags["bundle"] or ".",
        call.id,
        root=call.options["root"],
        stdio=stdio,
        filter_cache=_filter_cache(call),
        config=config,
        inherited=Inherited(
            keyring="" if call.flags["no_new_keyring"] else keyring_name(call.id),
            preserved_fds=call.flags["preserve_fds"],
        ),
    )


def _report_process(call: Call, pid: int, console: int | None) -> None:
    """Write the pid file, and send the terminal's master to the console socket."""
    if call.flags["console_socket"] and console is not None:
        from minidock.runtime.console import send_console

        send_console(call.flags["console_socket"], console)
    if call.flags["pid_file"]:
        document.write(call.flags["pid_file"], str(pid), durable=False, mode=0o666)


def _delete(call: Call) -> None:
    lifecycle.delete(call.options["root"], call.id, force=True)


def _filter_cache(call: Call) -> str:
    return f"{call.options['root']}/.seccomp"


def use_debug_journal(call: Call, log: Log) -> None:
    """With --debug, each journal record is a line of the log."""
    if call.options["debug"]:
        use_journal(Journal(lambda record: log.line("debug", record.rstrip()), actor="runtime"))
