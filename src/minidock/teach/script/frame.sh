# The frame of every script, with %NAMES% in the place of the lines of a run.
# ---
#!/bin/sh
# %COMMAND_LINE%
#
# Written by `minidock script`. This file creates the same container without minidock: run it as
# root with `sh FILE`. It waits for the command, removes everything that it created, and exits with
# the command's exit code. `sh FILE --clean` cleans up after killed scripts.
#
# Needed: util-linux 2.39 (unshare, nsenter, mount, setpriv), iproute2, iptables, a static busybox
# (Debian: busybox-static), Linux 6.7. It trusts the image: a shell cannot open a path in a root
# (openat2, RESOLVE_IN_ROOT), so symbolic links in the image were resolved in advance.
#
# Two sides: the engine's; and the container's in four stages, each of which executes the next one:
# init, isolate, inside, last. The sides wait for each other on two FIFOs, ready and start:
# descriptors 3 and 4 of the container's side. A third FIFO, alive, shows a guard that the engine was
# killed.
# shellcheck disable=SC2016 # a $ in single quotes is meant as it stands
set -eu

# ── Last stage, as the command's user: close all descriptors, then execute the command ────────────
if [ "${1:-}" = last ]; then
    _path=$2 # reserved names: an assignment must not change the environment
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

# Constants of this machine and this run; minidock does not reserve ADDRESS.
%CONSTANTS%

: "${ID:=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')}"
SHORT=$(printf %.12s "$ID")
VETH=veth$(printf %.11s "$ID")
: "${BOX:=/var/tmp/box-$SHORT}"
RECORDS=/run/minidock-script- # and an ID
ROOTFS=$BOX/merged
%VOLUMES%export ID BOX

# ── Undo: before it creates a resource, the script pushes the command that releases it ────────────
# The stack is a directory with a command in each file, so that it survives a killed script.
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

# rm must not descend into a mount that could not be unmounted.
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
    for step in "$BOX"/undo/*; do stack="$step $stack"; done
    for step in $stack; do
        [ -e "$step" ] || continue
        (eval "$(cat "$step")") || echo "could not undo: $(cat "$step")" >&2
        rm -f "$step"
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

# A cgroup can be removed once its last process has exited, which takes a moment; one with a child
# cgroup of others stays.
remove_cgroup() {
    attempts=100
    while [ -d "$1" ] && ! rmdir "$1" 2>/dev/null; do
        for below in "$1"/*/; do [ ! -d "$below" ] || return 0; done
        attempts=$((attempts - 1))
        [ "$attempts" -gt 0 ] || return 1
        sleep 0.05
    done
}

# Stop the unit of the cgroups, unless it has other cgroups by now.
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

# Kill the processes of a cgroup, and wait until it is empty.
empty_cgroup() {
    while [ -d "$1" ] && grep -q . "$1/cgroup.procs"; do
        xargs -r kill -KILL < "$1/cgroup.procs" 2>/dev/null || :
        sleep 0.05
    done
}

end_processes() {
%CGROUPS%
}

# The kernel removes a veth pair with its network namespace, but asynchronously.
remove_veth() {
    if ip link show dev "$VETH" >/dev/null 2>&1; then
        ip link delete dev "$VETH" 2>/dev/null || :
    fi
}

bridge_exists() {
    ip link show dev "$BRIDGE" >/dev/null 2>&1
}

# Add a rule. Arguments: table, chain, rule specification.
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

# Remove the chain for the administrator's rules, if it has none.
remove_user_chain() {
    [ "$(iptables --wait 10 -S "$1" 2>/dev/null | tail -n +2)" = "-A $1 -j RETURN" ] || return 0
    iptables --wait 10 -D FORWARD -j "$1"
    iptables --wait 10 -D "$1" -j RETURN
    iptables --wait 10 -X "$1"
}

# Remove the bridge and its rules, unless it has other ports by now.
remove_network() {
    for port in "/sys/class/net/$BRIDGE/brif"/*; do
        [ ! -e "$port" ] || return 0
    done
%REMOVE_RULES%
    ! bridge_exists || ip link delete dev "$BRIDGE"
}

# The bridge needs route_localnet as long as a port is published; the script's rule still exists now.
close_localnet() {
    published=$(iptables --wait 10 -t nat -S "MINIDOCK-$BRIDGE" | grep -c -e '-j DNAT' || :)
    [ "$published" -gt 1 ] || echo 0 > "/proc/sys/net/ipv4/conf/$BRIDGE/route_localnet"
}

# ── A script that was killed: its record has its pid, its start time and its BOX ──────────────────
# Print the start time of a process, in ticks since boot; nothing if it exited. proc_pid_stat(5)
started() {
    fields=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    fields=${fields##*) }
    case $fields in [ZX]*) ;; *) printf '%s\n' "$fields" | cut -d ' ' -f 20 ;; esac
}

# Clean up after killed scripts, each with its own copy of itself. Needs a lock on /run.
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

# Wait until the engine reports that everything is removed, or was killed.
guard() {
    read -r _ && return
    { read -r pid start && read -r _; } < "$RECORDS$ID"
    while [ "$(started "$pid")" = "$start" ]; do sleep 0.05; done # its descriptors close before it exits
    exec flock /run sh "$0" clean
}

# ── The side of the engine and the monitor ────────────────────────────────────────────────────────
engine() {
    [ -f "$0" ] || stop "must be in a file, since its stages execute it: sh FILE"
    [ "$(id -u)" = 0 ] || stop "needs root"
    flock --wait 60 /run sh "$0" clean
    [ "${1:-}" != --clean ] || exit 0
    busybox=$(command -v busybox) || stop "no busybox: apt-get install busybox-static"
    case $BOX in *[!A-Za-z0-9/._-]*) stop "BOX: a path of letters and digits only" ;; esac
    mkdir -m 700 "$BOX"
    printf '%s %s\n%s\n%s\n' "$$" "$(started "$$")" "$BOX" "$STORE" > "$RECORDS$ID"
    mkdir "$BOX/undo" "$BOX/tools"
    cp "$0" "$BOX/tools/box.sh"
    mkfifo "$BOX/ready" "$BOX/start" "$BOX/alive"

    # From here on a guard at the other end of "alive" notices when this process exits.
    exec 5<&0
    exec 4<> "$BOX/alive"
    exec 3< "$BOX/alive"
    setsid sh "$BOX/tools/box.sh" guard <&3 >/dev/null 2>&1 3<&- 4>&- 5<&- &
    exec 3<&-
    trap 'tear_down; echo >&4' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    # The third stage's programs: busybox, which is static; setpriv and prlimit with their
    # libraries and the dynamic loader.
    cp "$busybox" "$BOX/tools/busybox"
    for tool in setpriv prlimit; do
        tool=$(command -v "$tool") || stop "no $tool: apt-get install util-linux"
        cp "$tool" "$BOX/tools/"
        ldd "$tool" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' > "$BOX/libraries"
        while read -r library; do cp "$library" "$BOX/tools/"; done < "$BOX/libraries"
    done
    mv "$BOX"/tools/ld-* "$BOX/tools/ld.so"

    # Files for bind mounts in the container
%FILES%
%BEFORE%

    # ── Create the container's init with its own namespaces. clone3(2)
    # The kernel kills it when this process exits. PR_SET_PDEATHSIG(2const)
    undo end_processes
    exec 6<> "$BOX/ready"
    exec 7<> "$BOX/start"
    exec 8< "$BOX/start"
    setpriv --pdeathsig KILL \
        %UNSHARE% <&5 3>&6 4<&8 5<&- 6>&- 7>&- 8<&- &
    child=$!
    exec 5< "$BOX/ready" 6>&- 8<&-
    if ! read -r _ PID <&5; then
        wait "$child" 2>/dev/null && code=0 || code=$? # a shell prints "Killed" here
        stop "the container's side ended with $code before it was ready"
    fi
%AFTER%

    # ── Start it: it waits at the other end of this FIFO. fifo(7)
    echo go >&7
    wait "$child" 2>/dev/null && code=0 || code=$?
    exit "$code"
}

# ── The container's side, first stage: join the cgroups ───────────────────────────────────────────
init() {
    read -r PID _ < /proc/self/stat # the host's /proc: our pid as the host sees it
    export PID
%INIT%
}

# ── Second stage: host name and mounts, with the host's programs ──────────────────────────────────
isolate() {
    exec 8< "$BOX/tools" 9< "$BOX/tools/ld.so"
%ISOLATE%
    exec /proc/self/fd/8/busybox sh /proc/self/fd/8/box.sh inside
}

# ── Third stage: inside, where all other programs are the image's ─────────────────────────────────
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
    init | isolate | inside | guard | clean | finish) "$1" ;;
    *) stop "takes no arguments, or --clean" ;;
esac
