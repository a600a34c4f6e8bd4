"""The browser of the person who called `sudo minidock look`: opened with the page.

Arguments of a process can be read by every user of the machine, so the address, which has the
token, is never one. A shell, as that person and not as root, writes a file that only they can read
and that leads to the address, opens it with xdg-open, and removes it when the address was used or
`look` has ended, however it ended: then its input ends.

The file is in the home directory, since a browser that is a snap can read neither /tmp nor /run.

Sources: xdg-open(1), sudo(8) on SUDO_UID, XDG Base Directory Specification.
"""

from __future__ import annotations

import glob
import html
import os
import shutil
import subprocess

from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pwd import struct_passwd
    from typing import IO

_SCRIPT = """
umask 077
page=$(mktemp "$HOME/minidock-look-XXXXXX.html") || exit 1
trap 'rm -f "$page"' EXIT
IFS= read -r text
printf '%s\\n' "$text" > "$page"
xdg-open "$page" </dev/null >/dev/null 2>&1 &
cat > /dev/null
"""
_KEPT = ("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "LANG")


def open_in_browser(address: str) -> IO[bytes] | None:
    """Open an address in the caller's browser, if they called sudo on a desktop.

    Returns what to close once the address was used; None without a desktop.
    """
    user = _caller()
    if user is None or not (desktop := _desktop_of(user)) or shutil.which("xdg-open") is None:
        return None
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT], env=desktop, cwd="/",
        user=user.pw_uid, group=user.pw_gid, extra_groups=groups,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends look, and not the browser
    )  # fmt: skip
    assert shell.stdin is not None
    target = html.escape(f"0; url={address}")
    try:
        shell.stdin.write(f'<meta http-equiv="refresh" content="{target}">\n'.encode())
        shell.stdin.flush()
    except BrokenPipeError:
        return None  # such as a home directory that cannot be written
    return shell.stdin


def _caller() -> struct_passwd | None:
    """The user who called sudo; None for root itself."""
    import pwd

    uid = os.environ.get("SUDO_UID", "")
    if os.geteuid() != 0 or not is_decimal(uid) or int(uid) == 0:
        return None
    try:
        return pwd.getpwuid(int(uid))
    except (KeyError, OverflowError):
        return None


def _desktop_of(user: struct_passwd) -> dict[str, str]:
    """The environment of a user's desktop; empty if there is none."""
    runtime = f"/run/user/{user.pw_uid}"
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    sockets = [name for name in sorted(glob.glob(f"{runtime}/wayland-*")) if is_decimal(name[-1])]
    if sockets:
        found.setdefault("WAYLAND_DISPLAY", os.path.basename(sockets[0]))
    if "DISPLAY" not in found and "WAYLAND_DISPLAY" not in found:
        return {}
    return {
        **found,
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "PATH": os.environ.get("PATH", os.defpath),
        "XDG_RUNTIME_DIR": runtime,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
    }
