#!/usr/bin/env bash
# Installs minidock for good, or takes it away again. As root, on Debian 13 or Ubuntu 24.04:
#
#   ./install.sh               the packages it needs, then minidock itself; Python's packages from PyPI,
#                              in the versions and with the hashes of requirements.lock
#   ./install.sh --editable    the same commands, but they run what is in this directory: an edit is
#                              live. Python's packages are Debian's, so it needs no PyPI.
#   ./install.sh --uninstall   takes away what this script put there, and where no container runs the
#                              bridge and its rules; packages, images and containers stay
#
# What it puts where (each can be moved by a variable of the same name):
#
#   PREFIX=/opt/minidock       a virtual environment of /usr/bin/python3, byte-compiled
#   BIN=/usr/local/bin         links to the two commands: sudo drops a virtual environment's PATH
#   SHARE=/usr/local/share     completions for bash, zsh and fish
#   UNITS=/etc/systemd/system  where systemd runs: minidock.service, which at boot starts containers
#                              with a restart policy, and at shutdown stops all of them
#
# PYTHON=/usr/bin/python3 chooses the interpreter; NEEDS=no leaves the packages alone.
set -euo pipefail
cd "$(dirname "$0")"

PREFIX=${PREFIX:-/opt/minidock}
BIN=${BIN:-/usr/local/bin}
SHARE=${SHARE:-/usr/local/share}
SYSTEM_UNITS=/etc/systemd/system
UNITS=${UNITS:-$SYSTEM_UNITS}
PYTHON=${PYTHON:-/usr/bin/python3}

commands=(minidock minidock-runtime)
bash_completion=$SHARE/bash-completion/completions/minidock
zsh_completion=$SHARE/zsh/site-functions/_minidock
fish_completion=$SHARE/fish/vendor_completions.d/minidock.fish

say() { printf '%s\n' "install: $*"; }
die() { printf '%s\n' "install: $*" >&2; exit 1; }

# A unit in another place than systemd's own is only put there, for somebody to look at.
install_unit() {
    [[ -d /run/systemd/system || $UNITS != "$SYSTEM_UNITS" ]] || return 0
    mkdir -p "$UNITS"
    sed "s|/usr/local/bin/minidock|$BIN/minidock|" systemd/minidock.service \
        >"$UNITS/minidock.service"
    [[ $UNITS == "$SYSTEM_UNITS" ]] || return 0
    systemctl daemon-reload
    systemctl enable --now --quiet minidock.service
}

# Containers that run go on: the unit is not stopped, it is only not there any more.
uninstall_unit() {
    [[ -e $UNITS/minidock.service ]] || return 0
    if [[ $UNITS == "$SYSTEM_UNITS" && -d /run/systemd/system ]]; then
        systemctl disable --quiet minidock.service
    fi
    rm "$UNITS/minidock.service"
}

# While containers run, their network stays with them; the next reboot ends both.
take_down() {
    [[ -x $PREFIX/bin/minidock && -d ${MINIDOCK_ROOT:-/var/lib/minidock} ]] || return 0
    if "$PREFIX/bin/minidock" system down; then
        [[ ! -d /run/systemd/system ]] || systemctl stop --quiet minidock-containers.service 2>/dev/null || true
    else
        say "the bridge and its rules stay until the machine starts again"
    fi
}

uninstall() {
    take_down
    uninstall_unit
    for command in "${commands[@]}"; do
        # Only our own link: someone may have put another minidock there.
        if [[ $(readlink "$BIN/$command" || true) == "$PREFIX/bin/$command" ]]; then
            rm "$BIN/$command"
        fi
    done
    rm -rf "$PREFIX"
    rm -f "$bash_completion" "$zsh_completion" "$fish_completion"
    say "removed $PREFIX, the links in $BIN and the completions; images and containers stay in" \
        "/var/lib/minidock"
}

# A launcher of our own: pip's imports re and runs site, which cost each command 10 ms.
# -I: nothing from PYTHON* variables, the home or the current directory; -S: no site.
write_launcher() { # NAME MODULE SITE_PACKAGES [SOURCE]
    local source=${4:+"sys.path.insert(0, '$4')"}
    cat >"$PREFIX/bin/$1" <<END
#!$PREFIX/bin/python3 -IS
import sys

sys.path.append("$3")
$source
from $2 import main

sys.exit(main())
END
    chmod 755 "$PREFIX/bin/$1"
}

# The runtime's commands run out of the sealed interpreter (minidock/runtime/seal.py). Where it is
# mounted already, which is so after the first call since the machine was started, it is started at
# once: a shell takes 1 ms, and starting Python twice would take 8 more.
write_runtime_launcher() { # NAME MODULE SITE_PACKAGES [SOURCE]
    local source=${4:+"sys.path.insert(0, \"$4\")"}
    cat >"$PREFIX/bin/$1" <<END
#!/bin/sh
python=/run/minidock/sealed/bin/python3
[ -z "\$MINIDOCK_ROOT" ] && [ -x "\$python" ] || python=$PREFIX/bin/python3
exec "\$python" -IS -c '
import sys
sys.path.insert(0, "$3")
$source
from $2 import main
main()' "\$@"
END
    chmod 755 "$PREFIX/bin/$1"
}

check_python() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$PYTHON is older than Python 3.11; PYTHON=... chooses another"
}

install_minidock() {
    check_python
    # Build everything first, so that a failed build leaves an older minidock as it was.
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    say "building minidock and its dependencies"
    "$PYTHON" -m venv "$work/venv"
    # What runs as root later is what was locked (make lock), byte for byte; so is what builds it, which
    # pip would fetch by itself otherwise, whatever version there is by then.
    local pip=("$work/venv/bin/pip" --quiet --disable-pip-version-check)
    "${pip[@]}" install --require-hashes --only-binary :all: -r requirements-build.lock
    "${pip[@]}" wheel --require-hashes --no-deps --no-build-isolation --wheel-dir "$work/wheels" -r requirements.lock
    "${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$work/wheels" .

    "$PYTHON" -m venv --clear --without-pip "$PREFIX"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check --python "$PREFIX/bin/python3" \
        install --no-index --no-compile "$work"/wheels/*.whl
    local packages
    packages=$("$PREFIX/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # Here and not by pip, which follows PYTHONDONTWRITEBYTECODE: then each start would compile.
    "$PREFIX/bin/python3" -m compileall -q "$packages"

    write_launcher minidock minidock.__main__ "$packages"
    write_runtime_launcher minidock-runtime minidock.runtime.__main__ "$packages"
    link_and_complete
}

# Quick when it is there already: a virtual environment of the same Python stays.
install_editable() {
    check_python
    local packages=/usr/lib/python3/dist-packages
    PYTHONPATH=$packages "$PYTHON" -c 'import click, isal, prctl, pyroute2, rich, sh, urllib3, zstandard' 2>/dev/null ||
        die "a Python package is missing; ./needs.sh python installs them"
    "$PREFIX/bin/python3" -c '' 2>/dev/null || "$PYTHON" -m venv --clear --without-pip "$PREFIX"
    write_launcher minidock minidock.__main__ "$packages" "$PWD/src"
    write_runtime_launcher minidock-runtime minidock.runtime.__main__ "$packages" "$PWD/src"
    link_and_complete
}

link_and_complete() {
    mkdir -p "$BIN"
    for command in "${commands[@]}"; do
        ln -sfn "$PREFIX/bin/$command" "$BIN/$command"
    done

    mkdir -p "${bash_completion%/*}" "${zsh_completion%/*}" "${fish_completion%/*}"
    "$PREFIX/bin/minidock" completion bash >"$bash_completion"
    "$PREFIX/bin/minidock" completion zsh >"$zsh_completion"
    "$PREFIX/bin/minidock" completion fish >"$fish_completion"
    install_unit
    say "$("$BIN/minidock" --version) is in $PREFIX, its commands in $BIN"
}

case ${1:-} in
    "")
        [[ $(id -u) -eq 0 || -n ${NEEDS:-} ]] || die "run it as root: sudo ./install.sh"
        [[ ${NEEDS:-} == no ]] || ./needs.sh run build
        install_minidock
        ;;
    --editable)
        [[ $(id -u) -eq 0 || -n ${NEEDS:-} ]] || die "run it as root: sudo ./install.sh --editable"
        [[ ${NEEDS:-} == no ]] || bash ./needs.sh run python
        install_editable
        ;;
    --uninstall) uninstall ;;
    *) die "unknown argument '$1'; there are --editable and --uninstall" ;;
esac
