"""The words of two stories side by side, in the reader's language."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def words_of_two(_: Callable[[str], str]) -> dict[str, str]:
    """Key of a text in page/beside.js, compare.js and differences.js -> the text."""
    return {
        "beside": _("Side by side"),
        "beside_with": _("beside"),
        "beside_second": _("The second container"),
        "beside_needs": _("Side by side needs two containers."),
        "beside_title": _("{n} of {all} isolations differ"),
        "beside_same": _("The same in both"),
        "beside_shared": _("Shared namespaces"),
        "beside_is_shared": _("= shared"),
        "beside_hosts": _("= the host's"),
        "beside_kernel": _("read from /proc now"),
        "beside_journal": _("as the journals say"),
        "beside_plan": _("of a plan, nothing was done"),
        "beside_only": _("only in {name}"),
        "beside_other": _("with another value"),
        "beside_list": _("what differs"),
        "beside_none": _("none"),
        "limits": _("limits"),
        "hosts": _("the host's"),
        "key_beside": _("side by side: two containers"),
    }
