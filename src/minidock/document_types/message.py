"""The JSON of the messages between commands and a container's monitor.

Source: engine/monitor/protocol.py, which says what each message means.
"""

from typing import NotRequired, TypedDict

from minidock.document_types.container import ExecConfig
from minidock.document_types.network import EndpointRequest


class Streams(TypedDict):
    """The streams that a command wants relayed."""

    stdin: bool
    stdout: bool
    stderr: bool


class LaunchRequest(TypedDict):
    """LAUNCH: run a container.

    records: of the journal, by the command that spawned the monitor. explain: send RECORD for each
    record. step: ask with STEP before each op. view: the module whose `inspect` shows the
    container. size: [rows, columns] of the terminal.
    """

    id: str
    attach: Streams | None
    records: NotRequired[list[str]]
    explain: NotRequired[bool]
    step: NotRequired[bool]
    view: NotRequired[str]
    size: NotRequired[list[int] | None]


class ExecRequest(TypedDict):
    """EXEC: run one more process. size: [rows, columns] of the terminal."""

    request: ExecConfig
    attach: Streams | None
    size: list[int] | None


class NetworkChange(TypedDict):
    """NETWORK_CHANGE: join a network, or leave it (asked: None)."""

    network: str
    asked: EndpointRequest | None
