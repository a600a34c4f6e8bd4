#!/bin/sh
# Makes the configuration ready, then starts nginx; any other command as it is.
#
#   /docker-entrypoint.d/*.envsh    read into this shell, in the order of their names
#   /docker-entrypoint.d/*.sh       run, if they may be executed
#   /etc/nginx/templates/NAME.conf.template   written to /etc/nginx/conf.d/NAME.conf, each ${NAME}
#                                   of the environment replaced by its value
set -eu

say() { echo "docker-entrypoint.sh: $*" >&2; }

run_scripts() {
    for script in /docker-entrypoint.d/*; do
        case $script in
            *.envsh)
                say "reading $script"
                # shellcheck source=/dev/null
                . "$script"
                ;;
            *.sh)
                if [ -x "$script" ]; then
                    say "running $script"
                    "$script"
                else
                    say "leaving out $script: it may not be executed"
                fi
                ;;
        esac
    done
}

# Only names of the environment: nginx's own $uri, $host and so on stay.
fill_templates() {
    templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
    output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
    suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
    [ -d "$templates" ] || return 0
    # shellcheck disable=SC2016  # envsubst wants the dollar signs as they are
    known=$(env | sed -n "s/^\([A-Za-z_]\{1,\}[A-Za-z0-9_]*\)=.*/\${\1}/p" |
        grep -E "${NGINX_ENVSUBST_FILTER:-}" || true)
    find "$templates" -follow -type f -name "*$suffix" | while read -r template; do
        target=$output/${template#"$templates"/}
        target=${target%"$suffix"}
        mkdir -p "${target%/*}"
        say "writing $target"
        envsubst "$known" <"$template" >"$target"
    done
}

case ${1:-} in
    nginx | nginx-debug)
        run_scripts
        fill_templates
        ;;
esac
exec "$@"
