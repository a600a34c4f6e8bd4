# The frame of every script: what is the same in each, with %NAMES% where a run's own lines go.
# ---
#!/bin/sh
# %COMMAND_LINE%
#
# Written by `minidock script`. This file makes the same container without minidock: run it as root
# with `sh FILE`. It stays until the command has ended, takes everything down again, and ends with
# the command's exit code.
#
# Needed: util-linux 2.39 (unshare, nsenter, mount, setpriv), iproute2, iptables, a static busybox
# (Debian: busybox-static), Linux 6.7. It trusts the image: a shell cannot open a path in a root
# (openat2, RESOLVE_IN_ROOT), so links in the image were resolved when this was written.
#
# Two sides: the engine's; and the container's in four stages, of which each executes the next one:
# init, walls, inside, last. The sides wait for each other at two FIFOs, ready and start.
set -eu

# ── Last stage, as the command's own user: nothing of ours stays open, then become the command ────
if [ "${1:-}" = last ]; then
    _path=$2 # names that no environment has, as an assignment would change it
    _name=$3
    shift 3
    for _fd in /proc/self/fd/*; do
        _fd=${_fd##*/}
        [ "$_fd" -le 2 ] || eval "exec $_fd<&-"
    done
    unset %ADDED%
    # shellcheck disable=SC3038 # not in POSIX, but in busybox, which this stage runs under
    exec -a "$_name" "$_path" "$@"
fi

# What is true of this machine and this run; minidock does not know that ADDRESS is taken.
%CONSTANTS%

: "${ID:=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')}"
SHORT=$(printf %.12s "$ID")
CABLE=veth$(printf %.11s "$ID")
: "${BOX:=/var/tmp/box-$SHORT}"
ROOTFS=$BOX/merged
%VOLUMES%export ID BOX

# ── Undo: each act that makes something puts on a stack how it is unmade ──────────────────────────
UNDO=""

undo() {
    UNDO="$*
$UNDO"
}

tear_down() {
    trap - EXIT
    trap '' INT TERM HUP
    printf '%s\n' "$UNDO" > "$BOX/undo"
    while read -r line <&7; do
        eval "$line" || echo "could not undo: $line" >&2
    done 7< "$BOX/undo"
    rm -rf "$BOX"
}

stop() {
    echo "$0: $*" >&2
    exit 125
}

make_cgroup() {
    if [ ! -d "$1" ]; then
        mkdir "$1"
        undo remove_cgroup "$1"
    fi
}

# A cgroup can be removed once its last process has gone, which takes a moment; one that others have
# made a cgroup in stays.
remove_cgroup() {
    attempts=100
    while [ -d "$1" ] && ! rmdir "$1" 2>/dev/null; do
        for below in "$1"/*/; do [ ! -d "$below" ] || return 0; done
        attempts=$((attempts - 1))
        [ "$attempts" -gt 0 ] || return 1
        sleep 0.05
    done
}

# End the unit that the cgroups are below, unless somebody has come to be in it as well.
stop_unit() {
    for below in "$2"/*/; do
        case $below in */init/) continue ;; esac
        [ ! -d "$below" ] || return 0
    done
    systemctl stop "$1"
}

move_processes() {
    while read -r process; do
        echo "$process" > "$1/init/cgroup.procs"
    done < "$1/cgroup.procs"
}

set_setting() {
    undo "echo '$(cat "$1")' > '$1'"
    echo "$2" > "$1"
}

make_source() {
    if [ ! -e "$1" ]; then
        mkdir -p "$1"
        undo rmdir "'$1'"
    fi
}

fill_volume() {
    mkdir -p "$1"
    if [ -d "$2" ] && [ -z "$(ls -A "$1")" ]; then
        cp -a "$2/." "$1/"
    fi
}

# Kill what is left in a cgroup, and wait until it is empty.
empty_cgroup() {
    while [ -d "$1" ] && grep -q . "$1/cgroup.procs"; do
        xargs -r kill -KILL < "$1/cgroup.procs" 2>/dev/null || :
        sleep 0.05
    done
}

end_processes() {
%CGROUPS%
}

# The kernel takes a cable away with the network that it leads to, but in its own time.
remove_cable() {
    if ip link show dev "$CABLE" >/dev/null 2>&1; then
        ip link delete dev "$CABLE" 2>/dev/null || :
    fi
}

bridge_exists() {
    ip link show dev "$BRIDGE" >/dev/null 2>&1
}

# The bridge and all that came with it; it stays where others have plugged in meanwhile.
remove_network() {
    for port in "/sys/class/net/$BRIDGE/brif"/*; do
        [ ! -e "$port" ] || return 0
    done
%REMOVE_RULES%
    ip link delete dev "$BRIDGE"
}

# 127/8 may cross the bridge as long as one port is published; ours is still there now.
close_localnet() {
    published=$(iptables --wait 10 -t nat -S "MINIDOCK-$BRIDGE" | grep -c -e '-j DNAT' || :)
    [ "$published" -gt 1 ] || echo 0 > "/proc/sys/net/ipv4/conf/$BRIDGE/route_localnet"
}

# ── The engine's side, which is the monitor's too ─────────────────────────────────────────────────
engine() {
    [ -f "$0" ] || stop "has to be in a file, since its stages execute it: sh FILE"
    [ "$(id -u)" = 0 ] || stop "needs root"
    busybox=$(command -v busybox) || stop "no busybox: apt-get install busybox-static"
    case $BOX in *[!A-Za-z0-9/._-]*) stop "BOX: a path of letters and digits, please" ;; esac
    mkdir -m 700 "$BOX"
    trap tear_down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    # The third stage's programs: busybox, which is static; setpriv and prlimit with what they are
    # linked to, the loader as well.
    mkdir "$BOX/tools"
    cp "$0" "$BOX/tools/box.sh"
    cp "$busybox" "$BOX/tools/busybox"
    for tool in setpriv prlimit; do
        tool=$(command -v "$tool") || stop "no $tool: apt-get install util-linux"
        cp "$tool" "$BOX/tools/"
        ldd "$tool" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' > "$BOX/libraries"
        while read -r library; do cp "$library" "$BOX/tools/"; done < "$BOX/libraries"
    done
    mv "$BOX"/tools/ld-* "$BOX/tools/ld.so"
    mkfifo "$BOX/ready" "$BOX/start"
    exec 5<&0 6<> "$BOX/ready"

    # Files that are bound into the container
%FILES%
%BEFORE%

    # ── Bear the process that becomes the container, with its own namespaces. clone3(2)
    undo end_processes
    {
        code=0
        %UNSHARE% <&5 5<&- 2>&7 7>&- &
        wait "$!" || code=$?
        echo "ended $code" > "$BOX/ready"
        exit "$code"
    } 6<&- 7>&2 2>/dev/null & # so that a shell does not say "Killed" in the end
    child=$!
    read -r word PID <&6
    [ "$word" = ready ] || stop "the container's side ended with $PID before it was ready"
%AFTER%

    # ── Let it begin: it waits at the other end of this FIFO. fifo(7)
    echo go > "$BOX/start"
    wait "$child" && code=0 || code=$?
    exit "$code"
}

# ── The container's side, first stage: into the cgroups ───────────────────────────────────────────
init() {
    read -r PID _ < /proc/self/stat # the host's /proc: our pid as the host sees it
    export PID
%INIT%
}

# ── Second stage: the walls, with the host's programs ─────────────────────────────────────────────
walls() {
    exec 3<> "$BOX/ready" 4<> "$BOX/start" 8< "$BOX/tools" 9< "$BOX/tools/ld.so"
%WALLS%
    exec /proc/self/fd/8/busybox sh /proc/self/fd/8/box.sh inside
}

# ── Third stage: inside, where every program but these would be the image's ───────────────────────
inside() {
    chown() { /proc/self/fd/8/busybox chown "$@"; }
    dirname() { /proc/self/fd/8/busybox dirname "$@"; }
    ln() { /proc/self/fd/8/busybox ln "$@"; }
    mkdir() { /proc/self/fd/8/busybox mkdir "$@"; }
    mknod() { /proc/self/fd/8/busybox mknod "$@"; }
    mount() { /proc/self/fd/8/busybox mount "$@"; }
    prlimit() { /proc/self/fd/9 --library-path /proc/self/fd/8 /proc/self/fd/8/prlimit "$@"; }
    touch() { /proc/self/fd/8/busybox touch "$@"; }
    umount() { /proc/self/fd/8/busybox umount "$@"; }
%INSIDE%
}

case "${1:-}" in
    "") engine ;;
    init | walls | inside) "$1" ;;
    *) stop "takes no arguments" ;;
esac
