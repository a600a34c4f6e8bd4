"""A process for the command: fork, execve, wait. Yours to write."""


def start(body):
    """Fork a child that runs body(), and that never returns from here; returns the child's pid."""
    # TODO: os.fork. In the child: body(), and then os._exit, whatever happens. Say what went wrong.
    raise NotImplementedError("process.start is not written yet")


def execute(command):
    """Become the command; else end as a shell would: 127 not found, 126 not allowed."""
    # TODO: os.execvp
    raise NotImplementedError("process.execute is not written yet")


def wait(pid):
    """Wait for the child's end; returns its exit code, 128 + N where signal N ended it."""
    # TODO: os.waitpid
    raise NotImplementedError("process.wait is not written yet")
