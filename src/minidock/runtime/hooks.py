"""Hooks: programs of the host that config.json wants run at fixed points of a container's life.

Each gets the container's state as JSON on stdin. A hook that fails ends `create` with its error;
poststart and poststop hooks that fail are only reported, as the specification has it.

Source: OCI runtime-spec config "POSIX-platform Hooks".
"""

from __future__ import annotations

from minidock import jsontext
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(config: dict[str, Any], kinds: tuple[str, ...], state: dict[str, Any]) -> None:
    """Run the hooks of these kinds, in order.

    Raises MinidockError where one fails, times out, or cannot be executed.
    """
    for kind in kinds:
        for hook in (config.get("hooks") or {}).get(kind) or []:
            _run_one(kind, hook, jsontext.dumps(state))


def _run_one(kind: str, hook: dict[str, Any], state: str) -> None:
    import subprocess  # only bundles with hooks pay for it

    environment = dict(entry.partition("=")[::2] for entry in hook.get("env") or [])
    try:
        done = subprocess.run(
            hook.get("args") or [hook["path"]],
            executable=hook["path"],
            input=state.encode(),
            env=environment,
            timeout=hook.get("timeout"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MinidockError(f"{kind} hook {hook['path']}: not done in its time") from None
    except OSError as error:
        raise MinidockError(f"{kind} hook {hook['path']}: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise MinidockError(f"{kind} hook {hook['path']}: exit code {done.returncode}: {said}")
