"""A process for the command: fork, execve, wait. Yours to write."""


def start(body):
    """Fork a child that runs body() and never returns; returns the child's pid."""
    # TODO: os.fork. In the child: body(), and then always os._exit. Print an error if it fails.
    raise NotImplementedError("process.start is not written yet")


def execute(command):
    """Execute the command; if that fails, exit as a shell would: 127 not found, 126 not allowed."""
    # TODO: os.execvp
    raise NotImplementedError("process.execute is not written yet")


def wait(pid):
    """Wait for the child; returns its exit code, 128 + N if signal N killed it."""
    # TODO: os.waitpid
    raise NotImplementedError("process.wait is not written yet")
