"""Apply the image config to the command's process: Env, WorkingDir and User.

The last part before the command, after all isolation: /etc/passwd is the box's here. It is read as
a file: the pwd module calls the C library, which would load the box's NSS libraries, as root.
"""

import os

import pid

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def inside(box):
    """Set environment, working directory and user, in this order; drop the caller's environment."""
    if box.config is None:  # ROOTFS is a directory: there is no config
        return
    uid, gid, groups, home = identity(box.config.get("User") or "0")
    variables = dict(entry.split("=", 1) for entry in box.config.get("Env") or [])
    os.environ.clear()
    os.environ.update({"PATH": PATH, "HOME": home, "HOSTNAME": os.uname().nodename} | variables)
    directory = os.path.join("/", box.config.get("WorkingDir") or "/")
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    os.setgroups(groups)  # the user last: the calls before need root
    os.setgid(gid)
    os.setuid(uid)
    pid.end_with_parent()  # setuid has cleared PR_SET_PDEATHSIG


def identity(user):
    """USER[:GROUP], by name or by number, as (uid, gid, supplementary groups, home)."""
    user, _, group = user.partition(":")
    account = entry("/etc/passwd", user) or [user, "", user, "0", "", "/"]
    name, gid, groups = account[0], account[3], []
    if group:
        gid = (entry("/etc/group", group) or ["", "", group])[2]
    else:
        groups = [line[2] for line in table("/etc/group") if name in line[-1].split(",")]
    return number(account[2]), number(gid), [number(group) for group in groups], account[5]


def entry(path, key):
    """The line with this name, or else with this number; None if there is neither."""
    lines = table(path)
    named = [line for line in lines if line[0] == key] + [line for line in lines if line[2] == key]
    return named[0] if named else None


def table(path):
    """The lines of /etc/passwd or /etc/group, in fields. An image may have neither."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":") for line in file]
    except FileNotFoundError:
        return []
    whole = {"/etc/passwd": 7, "/etc/group": 4}[path]
    return [line for line in lines if len(line) == whole]


def number(text):
    """Parse a uid or gid. -1 is refused: some calls take it for "unchanged", and root stays."""
    if not text.isdecimal():
        raise OSError(f"the image has no user or group {text!r}")
    return int(text)
