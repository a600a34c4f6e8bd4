"""look's server: the page and its events, on this machine's loopback.

    GET /?token=…               opens the page in one browser (access.py); below its directory:

    GET .                       the page, without a story
    GET events                  server-sent events: the list of containers whenever it changes
    GET story?container=ID      JSON: the story of a container (answers.py)
    GET now?container=ID        JSON: what is true of it now
    GET layers?container=ID     JSON: its layers, and what it has written
    GET path?container=ID&path=/etc/passwd     JSON: which layer answers for a path
    GET places                  JSON: the running containers, for a packet to start from
    GET counters?packet=NUMBER  JSON: what the rules of the last packet have counted by now
    POST step                   container=…&before=ID&command=…: for its `run --step`
                                (stepped_run.py)
    POST packet                 way=…&container=…&destination=…: JSON: a packet's hops (packet.py)

Nothing that is got changes anything; what is posted does, and needs an Origin header too. The page
may load nothing, and connect to nothing but this server; other pages may neither show it in a frame
nor read its answers.

Sources: HTML, "Server-sent events"; Content Security Policy Level 3; Fetch, "CORP".
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

from minidock.errors import Conflict, MinidockError, NotFound
from minidock.http_server.connection import BadRequest
from minidock.http_server.server import Server
from minidock.teach.look.document import empty_document
from minidock.teach.look.export import SCRIPTS, STYLES, page_of
from minidock.teach.look.live.access import ADDRESS, Access
from minidock.teach.look.live.answers import Answers
from minidock.teach.look.live.stepped_run import ORDER_BYTES, order_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.http_server.connection import Connection, Request
    from minidock.paths import Store
    from minidock.teach.language import Language
    from minidock.teach.look.lecture import Lecture

_HEADERS = [
    ("content-security-policy", "frame-ancestors 'none'"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
]
# Before look.js, which uses them.
_SCRIPTS = (
    "now.js", "live.js", "step.js", "xray.js", "inodes.js", "path.js", "packet.js",
)  # fmt: skip
_STYLES = ("packet.css", "xray.css")
_POSTED = ("step", "packet")
_PAUSE_SECONDS, _COMMENT_SECONDS = 0.25, 10.0


def serve(
    store: Store,
    ids: list[str],
    *,
    port: int,
    language: Language,
    announce: Callable[[str], None],
    lecture: Lecture | None = None,
) -> None:
    """Serve the page until an exception, such as KeyboardInterrupt.

    ids: of the containers; empty for all. port: 0 for a free one. announce: is called with the
    first address, and with the next one whenever an address was used.
    Raises Conflict if the port is taken.
    """
    with socket(AF_INET, SOCK_STREAM) as listening:
        listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            listening.bind((ADDRESS, port))
        except OSError as error:
            raise Conflict(
                f"--port {port}: {error.strerror}", hint="--port 0 takes a free one"
            ) from None
        listening.listen()
        site = Site(Answers(store, ids, language), language, lecture)
        site.access = Access(listening.getsockname()[1], announce)
        Server(listening, site.answer).serve()


class Site:
    """Answers requests. access: set before the first one."""

    access: Access

    def __init__(self, answers: Answers, language: Language, lecture: Lecture | None) -> None:
        self._answers = answers
        document = {**empty_document(language), "live": True, "lecture": lecture}
        self._page = page_of(
            document,
            "minidock",
            scripts=(*_SCRIPTS, *SCRIPTS),
            styles=(*STYLES, *_STYLES),
            sources="; connect-src 'self'",
        )

    def answer(self, connection: Connection, request: Request) -> None:
        """Answer a request. Raises BadRequest."""
        self.access.check_host(request)
        directory = self.access.directory
        name = request.path.removeprefix(directory) if request.path.startswith(directory) else "/"
        is_posted = name in _POSTED
        if request.method != ("POST" if is_posted else "GET"):
            raise BadRequest(405, f"{request.method} is not supported here")
        if request.path == "/" and "token" in request.query:
            move = ("location", directory), ("set-cookie", self.access.admit(request))
            connection.respond(303, headers=[*_HEADERS, *move])
            return
        self.access.check(request)
        if is_posted:
            self.access.check_origin(request)
            act = self._send_packet if name == "packet" else self._order
            act(connection, request)
        elif name == "":
            connection.respond(200, self._page, kind="text/html", headers=_HEADERS)
        elif name == "events":
            self._stream(connection)
        elif name in ("story", "now", "layers", "path", "places", "counters"):
            self._answer_json(connection, name, request.query)
        else:
            raise BadRequest(404, f"{request.path} does not exist")

    def _order(self, connection: Connection, request: Request) -> None:
        """Pass a command on to `run --step`."""
        if len(request.body) > ORDER_BYTES:
            raise BadRequest(413, f"the body is longer than {ORDER_BYTES} bytes")
        with _errors_as_answers():
            self._answers.order(order_of(request.form()))
        connection.respond(202, headers=_HEADERS)

    def _send_packet(self, connection: Connection, request: Request) -> None:
        with _errors_as_answers():
            document = self._answers.packets.send(request.form())
        connection.respond(200, _json(document), kind="application/json", headers=_HEADERS)

    def _answer_json(self, connection: Connection, name: str, query: dict[str, str]) -> None:
        container_id, answers = query.get("container", ""), self._answers
        document: object
        with _errors_as_answers():
            if name == "path":
                document = answers.path(container_id, query.get("path", "/"))
            elif name == "places":
                document = answers.packets.places()
            elif name == "counters":
                document = answers.packets.counters(query.get("packet", ""))
            else:
                ask = {"story": answers.story, "now": answers.now, "layers": answers.layers}
                document = ask[name](container_id)
        connection.respond(200, _json(document), kind="application/json", headers=_HEADERS)

    def _stream(self, connection: Connection) -> None:
        """Send the list of containers until the page is closed, or takes nothing for too long."""
        connection.start(200, kind="text/event-stream", headers=_HEADERS)
        sent, sent_at = None, 0.0
        while not connection.is_closed():
            try:
                listing = self._answers.listing()
            except MinidockError:
                return  # such as a lock that is held: the browser asks again
            if listing != sent:
                connection.send(b"event: containers\ndata: " + _json(listing) + b"\n\n")
                sent, sent_at = listing, time.monotonic()
            elif time.monotonic() - sent_at > _COMMENT_SECONDS:
                connection.send(b":\n\n")  # so that a vanished client is noticed
                sent_at = time.monotonic()
            time.sleep(_PAUSE_SECONDS)


@contextmanager
def _errors_as_answers() -> Iterator[None]:
    """Raise BadRequest for an error of minidock."""
    try:
        yield
    except NotFound as error:
        raise BadRequest(404, str(error)) from None
    except MinidockError as error:
        raise BadRequest(409, str(error)) from None


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
