"""The death of a client: the container lives on, or hears of it, exactly as with Docker.

Each scenario is played on minidock and on the real docker, and must come out the same.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
import time

import pytest

from support.engine import Engine
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow]


def run(engine: Engine, *flags: str, command: str, **popen: object) -> subprocess.Popen[bytes]:
    """docker run FLAGS --name it box sh -c COMMAND"""
    given = ("run", *flags, "--network", "none", "--name", "it", "box", "sh", "-c", command)
    return engine.start(*given, **popen)


def await_word(process: subprocess.Popen[bytes], word: bytes) -> None:
    assert process.stdout
    assert process.stdout.readline().strip() == word


SLEEP = "echo ready; exec sleep 600"
TRAP = "trap 'echo heard; exit 7' {0}; echo ready; sleep 600 & wait"


def test_killed_client_leaves_the_container_running(engine: Engine) -> None:
    client = run(engine, command=SLEEP)
    await_word(client, b"ready")
    client.kill()
    assert client.wait(patience(10)) == -signal.SIGKILL
    assert engine.stays("running")


def test_killed_client_with_stdin_ends_it_where_stdin_is_the_clients(engine: Engine) -> None:
    """docker run -i: the container's stdin is closed with its only client, so cat ends."""
    client = run(engine, "-i", command="echo ready; cat; echo over", stdin=subprocess.PIPE)
    await_word(client, b"ready")
    client.kill()
    client.wait(patience(10))
    engine.await_status("exited")
    assert engine.ok("logs", "it").splitlines() == ["ready", "over"]


@pytest.mark.parametrize("name", ("TERM", "INT", "HUP", "QUIT", "USR1"))
def test_signal_of_the_client_is_passed_on(engine: Engine, name: str) -> None:
    client = run(engine, command=TRAP.format(name))
    await_word(client, b"ready")
    client.send_signal(getattr(signal, f"SIG{name}"))
    await_word(client, b"heard")
    assert client.wait(patience(10)) == 7
    engine.await_status("exited")  # docker tells the client before it tells `ps`


def test_signal_is_not_passed_on_without_proxy(engine: Engine) -> None:
    client = run(engine, "--sig-proxy=false", command=TRAP.format("TERM"))
    await_word(client, b"ready")
    client.terminate()
    assert client.wait(patience(10)) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert engine.stays("running")


def test_reader_that_goes_ends_the_client_only(engine: Engine) -> None:
    """docker run box sh -c 'while …' | head -n 1"""
    client = run(engine, command="echo ready; while sleep 0.05; do echo more; done")
    await_word(client, b"ready")
    assert client.stdout
    client.stdout.close()
    assert client.wait(patience(10)) != 0
    assert engine.stays("running")


def test_shell_that_goes_leaves_a_detached_container(engine: Engine) -> None:
    words = " ".join([*engine.words, "run -d --network none --name it box sleep 600"])
    shell = subprocess.Popen(
        ["sh", "-c", f"{words}; sleep 60"],
        env=engine.env, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert shell.stdout and len(shell.stdout.readline()) == 65
    engine.await_status("running")  # docker says the id before
    os.killpg(shell.pid, signal.SIGHUP)
    shell.wait(patience(10))
    assert engine.stays("running")


class Terminal:
    """A client on a terminal of its own."""

    def __init__(self, engine: Engine, *arguments: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(engine.words[0], [*engine.words, *arguments], engine.env)

    def await_text(self, text: bytes, seconds: float = 15) -> None:
        said = b""
        deadline = time.monotonic() + patience(seconds)
        os.set_blocking(self.master, False)
        while text not in said:
            assert time.monotonic() < deadline, said
            try:
                said += os.read(self.master, 4096)
            except BlockingIOError:
                time.sleep(0.02)

    def await_raw(self) -> None:
        """Until the client has taken the terminal: from then on all keys are the container's."""
        deadline = time.monotonic() + patience(15)
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        os.close(self.master)

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


ON_TERMINAL = ("run", "-it", "--network", "none", "--name", "it", "box", "sh")


def test_closed_terminal_leaves_the_container_running(engine: Engine) -> None:
    client = Terminal(engine, *ON_TERMINAL)
    client.await_text(b"# ")
    client.close()
    assert engine.stays("running")
    os.kill(client.pid, signal.SIGKILL)  # docker's client has not noticed yet
    client.wait()
    assert engine.stays("running")


def test_detach_keys_leave_the_container_running(engine: Engine) -> None:
    client = Terminal(engine, *ON_TERMINAL)
    client.await_text(b"# ")
    client.type(b"variable=kept\r")
    client.await_text(b"# ")
    client.type(b"\x10\x11")
    assert client.wait() == 0
    client.close()
    assert engine.status() == "running"
    again = Terminal(engine, "attach", "it")
    again.await_raw()
    again.type(b"echo it-is-$variable\r")
    again.await_text(b"it-is-kept")
    again.type(b"exit 5\r")
    assert again.wait() == 5
    again.close()
    engine.await_status("exited")


def test_interrupt_on_a_terminal_is_the_containers(engine: Engine) -> None:
    client = Terminal(engine, *ON_TERMINAL)
    client.await_text(b"# ")
    client.type(b"sleep 600\r")
    engine.await_process("sleep 600")  # before that, the shell takes the key for its own
    client.type(b"\x03")
    client.type(b"exit 3\r")
    assert client.wait() == 3
    client.close()


def test_killed_client_of_an_exec_leaves_its_process_running(engine: Engine) -> None:
    engine.ok("run", "-d", "--network", "none", "--name", "it", "box", "sleep", "600")
    client = engine.start("exec", "it", "sh", "-c", "echo ready; exec sleep 501")
    await_word(client, b"ready")
    client.kill()
    client.wait(patience(10))
    time.sleep(0.3)  # neither of the two tells that it has noticed
    assert "sleep 501" in engine.ok("exec", "it", "ps")
