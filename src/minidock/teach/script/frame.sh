# The frame of every script: what is the same in each, with %NAMES% where a run's own lines go.
# ---
#!/bin/sh
# %COMMAND_LINE%
#
# Written by `minidock script`. This file makes the same container without minidock: run it as root
# with `sh FILE`. It stays until the command has ended, takes everything down again, and ends with
# the command's exit code. `sh FILE --clean` takes down what killed scripts have left.
#
# Needed: util-linux 2.39 (unshare, nsenter, mount, setpriv), iproute2, iptables, a static busybox
# (Debian: busybox-static), Linux 6.7. It trusts the image: a shell cannot open a path in a root
# (openat2, RESOLVE_IN_ROOT), so links in the image were resolved when this was written.
#
# Two sides: the engine's; and the container's in four stages, of which each executes the next one:
# init, walls, inside, last. The sides wait for each other at two FIFOs, ready and start: descriptors
# 3 and 4 of the container's side. A third one, alive, tells a guard that the engine was killed.
# shellcheck disable=SC2016 # a $ in single quotes is meant as it stands
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
RECORDS=/run/minidock-script- # and an ID
ROOTFS=$BOX/merged
%VOLUMES%export ID BOX

# ── Undo: before each act that makes something, it is put on a stack how it is unmade ─────────────
# The stack is a directory, since it has to outlive a script that is killed: a command in a file.
MADE=1000

undo() {
    MADE=$((MADE + 1))
    for word; do quoted "$word"; done > "$BOX/undo/$MADE"
}

# Print a word in single quotes.
quoted() {
    done=""
    rest=$1
    while case $rest in *\'*) ;; *) false ;; esac; do
        done="$done${rest%%\'*}'\\''"
        rest=${rest#*\'}
    done
    printf "'%s' " "$done$rest"
}

# What could not be unmounted is somebody's directory: rm would go through it.
remove_box() {
    if grep -qF " $1/" /proc/self/mountinfo; then
        echo "something is mounted below $1 (grep $1 /proc/mounts): unmount it, then: rm -r $1" >&2
        return 1
    fi
    rm -rf "$1"
}

tear_down() {
    trap - EXIT
    trap '' INT TERM HUP
    stack=""
    for act in "$BOX"/undo/*; do stack="$act $stack"; done
    for act in $stack; do
        [ -e "$act" ] || continue
        (eval "$(cat "$act")") || echo "could not undo: $(cat "$act")" >&2
        rm -f "$act"
    done
    remove_box "$BOX" || return
    rm -f "$RECORDS$ID"
}

stop() {
    echo "$0: $*" >&2
    exit 125
}

unmount() {
    ! mountpoint -q "$1" || umount "$1"
}

make_cgroup() {
    if [ ! -d "$1" ]; then
        undo remove_cgroup "$1"
        mkdir "$1"
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
    undo restore_setting "$1" "$(cat "$1")"
    printf '%s\n' "$2" > "$1"
}

restore_setting() {
    [ ! -e "$1" ] || printf '%s\n' "$2" > "$1"
}

make_source() {
    if [ ! -e "$1" ]; then
        undo remove_source "$1"
        mkdir -p "$1"
    fi
}

remove_source() {
    [ ! -d "$1" ] || rmdir "$1"
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

# Add a rule: a table, a chain, and the rule's own words.
add_rule() {
    undo remove_rule "$@"
    in_table=$1
    shift
    iptables --wait 10 -t "$in_table" -A "$@"
}

remove_rule() {
    in_table=$1
    shift
    if iptables --wait 10 -t "$in_table" -C "$@" 2>/dev/null; then
        iptables --wait 10 -t "$in_table" -D "$@"
    fi
}

# The chain for an administrator's rules goes only while there are none.
remove_user_chain() {
    [ "$(iptables --wait 10 -S "$1" 2>/dev/null | tail -n +2)" = "-A $1 -j RETURN" ] || return 0
    iptables --wait 10 -D FORWARD -j "$1"
    iptables --wait 10 -D "$1" -j RETURN
    iptables --wait 10 -X "$1"
}

# The bridge and all that came with it; it stays where others have plugged in meanwhile.
remove_network() {
    for port in "/sys/class/net/$BRIDGE/brif"/*; do
        [ ! -e "$port" ] || return 0
    done
%REMOVE_RULES%
    ! bridge_exists || ip link delete dev "$BRIDGE"
}

# 127/8 may cross the bridge as long as one port is published; ours is still there now.
close_localnet() {
    published=$(iptables --wait 10 -t nat -S "MINIDOCK-$BRIDGE" | grep -c -e '-j DNAT' || :)
    [ "$published" -gt 1 ] || echo 0 > "/proc/sys/net/ipv4/conf/$BRIDGE/route_localnet"
}

# ── A script that was killed: its record says which pid and start time it had, and which BOX ──────
# When a process began, in ticks since the machine did; nothing where it has ended. proc_pid_stat(5)
started() {
    fields=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    fields=${fields##*) }
    case $fields in [ZX]*) ;; *) printf '%s\n' "$fields" | cut -d ' ' -f 20 ;; esac
}

# Take down what killed scripts have left, each by its own copy of itself. A lock on /run is held.
clean() {
    for record in "$RECORDS"*; do
        [ -f "$record" ] || continue
        { read -r pid start && read -r box; } < "$record" || continue
        [ "$(started "$pid")" != "$start" ] || continue
        if [ -f "$box/tools/box.sh" ]; then
            ID=${record#"$RECORDS"} BOX=$box sh "$box/tools/box.sh" finish
        else
            remove_box "$box" && rm -f "$record"
        fi
    done
}

finish() {
    [ ! -f "$RECORDS$ID" ] || tear_down
}

# Wait until the engine says that all is taken down, or has been killed and says nothing any more.
guard() {
    read -r _ && return
    { read -r pid start && read -r _; } < "$RECORDS$ID"
    while [ "$(started "$pid")" = "$start" ]; do sleep 0.05; done # its descriptors end before it
    exec flock /run sh "$0" clean
}

# ── The engine's side, which is the monitor's too ─────────────────────────────────────────────────
engine() {
    [ -f "$0" ] || stop "has to be in a file, since its stages execute it: sh FILE"
    [ "$(id -u)" = 0 ] || stop "needs root"
    flock --wait 60 /run sh "$0" clean
    [ "${1:-}" != --clean ] || exit 0
    busybox=$(command -v busybox) || stop "no busybox: apt-get install busybox-static"
    case $BOX in *[!A-Za-z0-9/._-]*) stop "BOX: a path of letters and digits, please" ;; esac
    mkdir -m 700 "$BOX"
    printf '%s %s\n%s\n' "$$" "$(started "$$")" "$BOX" > "$RECORDS$ID"
    mkdir "$BOX/undo" "$BOX/tools"
    cp "$0" "$BOX/tools/box.sh"
    mkfifo "$BOX/ready" "$BOX/start" "$BOX/alive"

    # From here on, the end of this process is heard at the other end of "alive": by a guard.
    exec 5<&0
    exec 4<> "$BOX/alive"
    exec 3< "$BOX/alive"
    setsid sh "$BOX/tools/box.sh" guard <&3 >/dev/null 2>&1 3<&- 4>&- 5<&- &
    exec 3<&-
    trap 'tear_down; echo >&4' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    # The third stage's programs: busybox, which is static; setpriv and prlimit with what they are
    # linked to, the loader as well.
    cp "$busybox" "$BOX/tools/busybox"
    for tool in setpriv prlimit; do
        tool=$(command -v "$tool") || stop "no $tool: apt-get install util-linux"
        cp "$tool" "$BOX/tools/"
        ldd "$tool" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' > "$BOX/libraries"
        while read -r library; do cp "$library" "$BOX/tools/"; done < "$BOX/libraries"
    done
    mv "$BOX"/tools/ld-* "$BOX/tools/ld.so"

    # Files that are bound into the container
%FILES%
%BEFORE%

    # ── Bear the process that becomes the container, with its own namespaces. clone3(2)
    # It is killed when this process ends, however that is. PR_SET_PDEATHSIG(2const)
    undo end_processes
    exec 6<> "$BOX/ready"
    exec 7<> "$BOX/start"
    exec 8< "$BOX/start"
    setpriv --pdeathsig KILL \
        %UNSHARE% <&5 3>&6 4<&8 5<&- 6>&- 7>&- 8<&- &
    child=$!
    exec 5< "$BOX/ready" 6>&- 8<&-
    if ! read -r _ PID <&5; then
        wait "$child" 2>/dev/null && code=0 || code=$? # a shell says "Killed" here
        stop "the container's side ended with $code before it was ready"
    fi
%AFTER%

    # ── Let it begin: it waits at the other end of this FIFO. fifo(7)
    echo go >&7
    wait "$child" 2>/dev/null && code=0 || code=$?
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
    exec 8< "$BOX/tools" 9< "$BOX/tools/ld.so"
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
    "" | --clean) engine "$@" ;;
    init | walls | inside | guard | clean | finish) "$1" ;;
    *) stop "takes no arguments, or --clean" ;;
esac
