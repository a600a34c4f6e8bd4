#!/bin/sh
# Starts redis-server as the user redis, in /data; any other command as it is.
#
#   … redis                             redis-server with its defaults
#   … redis --appendonly yes            with flags
#   … redis /usr/local/etc/redis.conf   with a file of one's own
set -eu

case ${1:-} in
    -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "${1:-}" = redis-server ]; then
    # A server without a password answers loopback only, unless configured otherwise. In a container
    # no client comes by loopback: its network and its published ports limit who reaches the server.
    says_so=no
    for word in "$@"; do
        case $word in
            --protected-mode) says_so=yes ;;
            *.conf) if grep -qs '^ *protected-mode' "$word"; then says_so=yes; fi ;;
        esac
    done
    [ "$says_so" = yes ] || set -- "$@" --protected-mode no

    if [ "$(id -u)" = 0 ]; then # a volume, or a folder of the host, is root's at first
        find . \! -user redis -exec chown redis:redis '{}' +
        exec setpriv --reuid=redis --regid=redis --init-groups -- "$@"
    fi
fi
exec "$@"
