# Functions of all experiments; each begins with `. "$(dirname "$0")/lib.sh"`.
#
#   title TEXT             print a heading
#   show COMMAND…          print and run a command, and show its output; its exit code is in $code
#   saw WHAT COMMAND…      check an effect: if COMMAND fails, the experiment fails (exit code 1)
#   only_in_a_vm "$@"      exit with 2 unless the script was called with --yes-in-a-vm
#
# MINIDOCK is the command to use, by default `minidock`. All containers are called pg-…, and are
# removed at exit, also after an error or a signal.
# shellcheck shell=sh disable=SC2034 # code is for the scripts
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/playground.XXXXXX")

minidock() { if [ -n "${MINIDOCK:-}" ]; then $MINIDOCK "$@"; else command minidock "$@"; fi; }

clean_up() { :; } # an experiment may define its own

_end() {
    status=$?
    trap - EXIT
    clean_up
    containers=$(minidock ps -aq --filter name=pg-) || containers=""
    # shellcheck disable=SC2086 # one word each
    [ -z "$containers" ] || minidock rm -f $containers >/dev/null
    rm -rf "$work"
    exit "$status"
}
trap _end EXIT
trap 'exit 130' INT TERM HUP

title() { printf '\n%s\n' "$*"; }

show() {
    printf '$ %s\n' "$*" | cut -c1-160
    code=0
    "$@" >"$work/said" 2>&1 </dev/null || code=$?
    sed -n '1,12s/^/    /p' "$work/said"
    [ "$code" -eq 0 ] || printf '    (exit code %s)\n' "$code"
}

said() { grep -q -e "$1" "$work/said"; }

saw() {
    what=$1
    shift
    if "$@"; then
        printf '  ✓ %s\n' "$what"
    else
        printf '  ✗ not seen: %s\n' "$what"
        exit 1
    fi
}

only_in_a_vm() {
    case " $* " in *" --yes-in-a-vm "*) return ;; esac
    echo "$(basename "$0"): this changes the machine itself; on a disposable machine, add --yes-in-a-vm" >&2
    exit 2
}

# Print the path of a file of a running container's cgroup, v1 or v2: cgroup_file NAME CONTROLLER FILE
cgroup_file() {
    pid=$(minidock inspect -f '{{.State.Pid}}' "$1")
    if line=$(grep -E "^[1-9][0-9]*:([^:]*,)?$2(,[^:]*)?:" "/proc/$pid/cgroup"); then
        printf '/sys/fs/cgroup/%s%s/%s\n' "$2" "${line##*:}" "$3"
    else
        line=$(grep '^0::' "/proc/$pid/cgroup")
        printf '/sys/fs/cgroup%s/%s\n' "${line##*:}" "$3"
    fi
}

# Retry a command until it succeeds, for ten seconds.
soon() {
    for _ in $(seq 100); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    return 1
}

# Print the flags that mount this machine's python3 read-only: busybox has none.
lend_python() {
    printf '%s\n' "-v /usr:/usr:ro -v /usr/lib:/lib:ro"
    [ ! -d /usr/lib64 ] || printf '%s\n' "-v /usr/lib64:/lib64:ro"
}

minidock image inspect busybox >/dev/null 2>&1 || minidock image make busybox >/dev/null
