#!/usr/bin/env bash
# Install or uninstall minidock. Run as root, on Debian 13 or Ubuntu 24.04:
#
#   ./install.sh               install the required packages, then minidock; its Python dependencies
#                              come from PyPI, in the versions and with the hashes of requirements.lock
#   ./install.sh --editable    install commands that run the source in this directory, so edits take
#                              effect at once; Python dependencies are Debian packages, PyPI is not used
#   ./install.sh --uninstall   remove what this script installed and, if no container runs, the bridge
#                              and its firewall rules; packages, images and containers stay
#
# Paths (override them with environment variables):
#
#   PREFIX=/opt/minidock       a virtual environment of /usr/bin/python3, byte-compiled
#   BIN=/usr/local/bin         symlinks to the two commands: sudo resets PATH
#   SHARE=/usr/local/share     completions for bash, zsh and fish
#   UNITS=/etc/systemd/system  minidock.service, if systemd runs: it starts containers with a restart
#                              policy at boot, and stops all containers at shutdown
#
# PYTHON=/usr/bin/python3 selects the interpreter; NEEDS=no skips the packages.
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

# A unit outside of systemd's directory is only written, not enabled.
install_unit() {
    [[ -d /run/systemd/system || $UNITS != "$SYSTEM_UNITS" ]] || return 0
    mkdir -p "$UNITS"
    sed "s|/usr/local/bin/minidock|$BIN/minidock|" systemd/minidock.service \
        >"$UNITS/minidock.service"
    [[ $UNITS == "$SYSTEM_UNITS" ]] || return 0
    systemctl daemon-reload
    systemctl enable --now --quiet minidock.service
}

# Running containers continue: the unit is disabled and removed, not stopped.
uninstall_unit() {
    [[ -e $UNITS/minidock.service ]] || return 0
    if [[ $UNITS == "$SYSTEM_UNITS" && -d /run/systemd/system ]]; then
        systemctl disable --quiet minidock.service
    fi
    rm "$UNITS/minidock.service"
}

# Running containers keep their network until the next reboot.
take_down() {
    [[ -x $PREFIX/bin/minidock && -d ${MINIDOCK_ROOT:-/var/lib/minidock} ]] || return 0
    if "$PREFIX/bin/minidock" system down; then
        [[ ! -d /run/systemd/system ]] || systemctl stop --quiet minidock-containers.service 2>/dev/null || true
    else
        say "the bridge and its firewall rules stay until the next reboot"
    fi
}

uninstall() {
    take_down
    uninstall_unit
    for command in "${commands[@]}"; do
        # Remove only our own symlink, not another minidock.
        if [[ $(readlink "$BIN/$command" || true) == "$PREFIX/bin/$command" ]]; then
            rm "$BIN/$command"
        fi
    done
    rm -rf "$PREFIX"
    rm -f "$bash_completion" "$zsh_completion" "$fish_completion"
    say "removed $PREFIX, the symlinks in $BIN and the completions; images and containers stay in" \
        "/var/lib/minidock"
}

# Replace pip's launcher, which imports re and runs site: 10 ms for each command.
# -I: ignore PYTHON* variables, the home and the current directory; -S: no site.
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

# The runtime runs in the sealed interpreter (minidock/runtime/seal.py). If that is mounted (after the
# first call since boot), the launcher starts it directly: the shell takes 1 ms, a second start of
# Python would take 8 ms.
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
        die "$PYTHON is older than Python 3.11; select another with PYTHON=..."
}

install_minidock() {
    check_python
    # Build first: a failed build leaves the installed minidock unchanged.
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    say "building minidock and its dependencies"
    "$PYTHON" -m venv "$work/venv"
    # Everything that will run as root, and the build requirements, must match the lock files (make lock)
    # by hash; pip would otherwise fetch the latest build requirements.
    local pip=("$work/venv/bin/pip" --quiet --disable-pip-version-check)
    "${pip[@]}" install --require-hashes --only-binary :all: -r requirements-build.lock
    "${pip[@]}" wheel --require-hashes --no-deps --no-build-isolation --wheel-dir "$work/wheels" -r requirements.lock
    "${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$work/wheels" .

    "$PYTHON" -m venv --clear --without-pip "$PREFIX"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check --python "$PREFIX/bin/python3" \
        install --no-index --no-compile "$work"/wheels/*.whl
    local packages
    packages=$("$PREFIX/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # Not by pip, which honours PYTHONDONTWRITEBYTECODE: each start would compile again.
    "$PREFIX/bin/python3" -m compileall -q "$packages"

    write_launcher minidock minidock.__main__ "$packages"
    write_runtime_launcher minidock-runtime minidock.runtime.__main__ "$packages"
    link_and_complete
}

# An existing virtual environment of the same Python is kept.
install_editable() {
    check_python
    local packages=/usr/lib/python3/dist-packages
    PYTHONPATH=$packages "$PYTHON" -c 'import click, h11, isal, jeepney, markdown_it, prctl, pyroute2, rich, sh, urllib3, zstandard' 2>/dev/null ||
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
    say "$("$BIN/minidock" --version) is installed in $PREFIX, its commands in $BIN"
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
    *) die "unknown argument '$1'; supported: --editable, --uninstall" ;;
esac
