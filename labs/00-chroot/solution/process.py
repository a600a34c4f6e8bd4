"""A process for the command: fork, execve, wait."""

import os
import sys


def start(body):
    """Fork a child that runs body() and never returns; returns the child's pid."""
    sys.stdout.flush()  # otherwise buffered output is written twice
    pid = os.fork()
    if pid:
        return pid
    try:
        body()
    except BaseException as error:
        print(f"box: {describe(error)}", file=sys.stderr)
    finally:
        os._exit(125)  # exit() would run the parent's exit handlers


def describe(error):
    """Describe an error; for an unexpected one, with its line."""
    if isinstance(error, (OSError, NotImplementedError)):
        return str(error)
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return f"{error!r} in {trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"


def execute(command):
    """Execute the command; if that fails, exit as a shell would: 127 not found, 126 not allowed."""
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        print(f"box: {command[0]}: not found", file=sys.stderr)
        os._exit(127)
    except OSError as error:
        print(f"box: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(126)


def wait(pid):
    """Wait for the child; returns its exit code, 128 + N if signal N killed it."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code
