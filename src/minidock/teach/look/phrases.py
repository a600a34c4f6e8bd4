"""What each row has made, as a phrase: read from the things of a scene."""

from __future__ import annotations

from minidock.teach.look.rows import OTHER, texts_of
from minidock.teach.look.thing import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.teach.look.scene import Scene

    Gettext = Callable[[str], str]
    Phrase = Callable[[Scene, Gettext], str]

_NAMESPACE_OF = {**NAMESPACES, "net": "network namespace"}
_MOST = 4


def phrase_of(row: str, scene: Scene, gettext: Gettext) -> str:
    """What the operations of a row have made, as far as the journal says."""
    if not scene.counts[row]:
        return gettext("no operation")
    parts = [_namespace(row, scene, gettext)]
    if row in _PHRASES:
        parts.append(_PHRASES[row](scene, gettext))
    return "; ".join(filter(None, parts)) or texts_of(row, gettext)["about"]


def _namespace(row: str, scene: Scene, _: Gettext) -> str:
    found = scene.made(_NAMESPACE_OF.get(row, ""))
    if not found:
        return ""
    return _("shared namespace") if found[0].note == "joined" else _("its own namespace")


def _names(scene: Scene, kind: str, *, with_notes: bool = False, most: int = _MOST) -> str:
    found = [
        f"{thing.name} {thing.note}".strip() if with_notes else thing.name
        for thing in scene.made(kind)
    ]
    more = " …" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _count(scene: Scene, kind: str) -> int:
    return len(scene.made(kind))


def _pid(scene: Scene, _: Gettext) -> str:
    command = scene.made("command")
    return _("PID 1: {command}").format(command=command[0].note) if command else ""


def _mount(scene: Scene, _: Gettext) -> str:
    return _("mounts: {n}").format(n=_count(scene, "mount")) + _list(_names(scene, "mount"))


def _list(names: str) -> str:
    return f" ({names})" if names else ""


def _net(scene: Scene, _: Gettext) -> str:
    interfaces = _names(scene, "interface", with_notes=True)
    ports = _names(scene, "port")
    return "; ".join(
        filter(None, [interfaces, _("published: {ports}").format(ports=ports) if ports else ""])
    )


def _uts(scene: Scene, _: Gettext) -> str:
    return _names(scene, "name", with_notes=True)


def _cgroup(scene: Scene, _: Gettext) -> str:
    limits = _names(scene, "limit", with_notes=True, most=2)
    text = _("cgroups: {n}").format(n=_count(scene, "host cgroup"))
    return f"{text}; {limits}" if limits else text


def _root(scene: Scene, _: Gettext) -> str:
    gone = not scene.visible("old root") and bool(scene.made("root"))
    return _("the host's tree is gone from it") if gone else _("the host's tree is still in it")


def _seccomp(scene: Scene, _: Gettext) -> str:
    found = scene.made("filter")
    return _("a filter of {n} instructions").format(n=found[0].note) if found else ""


def _capabilities(scene: Scene, _: Gettext) -> str:
    every = sum(thing.kind == "capability" for thing in scene.things.values())
    return _("{n} of {all} are left").format(n=len(scene.visible("capability")), all=every)


def _masks(scene: Scene, _: Gettext) -> str:
    hidden = [thing for thing in scene.made("mask") if thing.note == "hidden"]
    read_only = _count(scene, "mask") - len(hidden)
    return _("hidden: {hidden}; read-only: {read_only}").format(
        hidden=len(hidden), read_only=read_only
    )


def _devices(scene: Scene, _: Gettext) -> str:
    return _("devices and links: {devices}; rules: {rules}").format(
        devices=_count(scene, "device"), rules=_count(scene, "device rule")
    )


def _layers(scene: Scene, _: Gettext) -> str:
    below = [thing for thing in scene.made("layer") if thing.name != "upper"]
    return _("the image's layers: {n}, and its own on top").format(n=len(below))


def _other(scene: Scene, _: Gettext) -> str:
    user = _names(scene, "user", with_notes=True)
    return user or _names(scene, "process setting")


_PHRASES: dict[str, Phrase] = {
    "pid": _pid,
    "mount": _mount,
    "net": _net,
    "uts": _uts,
    "cgroup": _cgroup,
    "pivot_root": _root,
    "seccomp": _seccomp,
    "capabilities": _capabilities,
    "masks": _masks,
    "devices": _devices,
    "layers": _layers,
    OTHER: _other,
}
