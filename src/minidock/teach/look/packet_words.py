"""The words of the packet's view, in the reader's language."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def words_of_packet(_: Callable[[str], str]) -> dict[str, str]:
    """Key of a text in page/packet.js and page/path.js -> the text."""
    return {
        "packet": _("Packet"),
        "key_packet": _("a packet, hop by hop"),
        "way": _("Way"),
        "way:host": _("from this host"),
        "way:outside": _("from another machine (simulated)"),
        "way:container": _("from a container, to a published port"),
        "way:between": _("from a container to another one"),
        "way:dns": _("a DNS query of a container"),
        "to_port": _("to port"),
        "to_container": _("to container:port"),
        "to_name": _("for the name"),
        "send": _("Send"),
        "on_its_way": _("It is on its way…"),
        "outside": _("Another machine"),
        "path_picture": _("The way of the packet"),
        "hops": _("Hops"),
        "netns:host": _("on the host"),
        "netns:container": _("in the container's network namespace"),
        "netns:sender": _("in the sender's network namespace"),
        "way_back": _("the answer's way"),
        "counter": _("packets so far: {n}, bytes: {bytes}"),
        "stopped_here": _("stopped here"),
        "status:answered": _("answered"),
        "status:relayed": _("answered, by the userland proxy"),
        "status:stopped": _("stopped"),
        "missing": _("also missing in {table}: {rule} ({without})"),
    }
