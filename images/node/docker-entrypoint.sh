#!/bin/sh
# Starts the command; what is none (a flag, or a script's name) is node's: `… node app.js`, `… node -v`.
set -eu

case ${1:-} in
    -*) set -- node "$@" ;;
    *)
        if ! command -v "${1:-}" >/dev/null || [ -f "$1" ] && ! [ -x "$1" ]; then
            set -- node "$@"
        fi
        ;;
esac
exec "$@"
