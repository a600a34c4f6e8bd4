"""Inherited: the descriptors and keys that the command has from the runtime's caller.

Neither belongs to a namespace. Without these steps the command would find the caller's session
keyring, and lose the descriptors that the caller passes (`--preserve-fds`, systemd's sockets).

Source: runc's flags --preserve-fds and --no-new-keyring; keyrings(7), sd_listen_fds(3).
"""

from __future__ import annotations

from minidock.kernel import process
from minidock.kernel.keyring import join_session_keyring
from minidock.runtime.program import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import StateDocument


class Inherited:
    """What the command gets.

    keyring: the name of its session keyring, "" for the caller's. preserved_fds: how many
    descriptors from 3 on.
    """

    def __init__(self, *, keyring: str, preserved_fds: int = 0) -> None:
        self.keyring = keyring
        self.preserved_fds = preserved_fds

    def descriptors(self) -> list[int]:
        """The preserved descriptors."""
        return list(range(3, 3 + self.preserved_fds))

    def record_in(self, content: StateDocument) -> None:
        """Add what exec needs of it to the content of state.json: it joins the same keyring."""
        content["keyring"] = self.keyring


def keyring_name(container_id: str) -> str:
    """The name of a container's own session keyring, as runc gives it."""
    return f"_ses.{container_id}"


def nothing_inherited(container_id: str) -> Inherited:
    """No descriptor, and a new keyring."""
    return Inherited(keyring=keyring_name(container_id))


def session_steps(inherited: Inherited) -> list[Step]:
    """Lead a session of its own, with a keyring of its own."""
    steps = [Step(process.new_session)]
    if inherited.keyring:
        steps.append(Step(join_session_keyring, inherited.keyring))
    return steps


def descriptor_steps(inherited: Inherited) -> list[Step]:
    """Keep the preserved descriptors open over execve(2)."""
    if not inherited.preserved_fds:
        return []
    return [Step(process.preserve_fds, 3, 2 + inherited.preserved_fds)]
