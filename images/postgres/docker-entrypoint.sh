#!/usr/bin/env bash
# Makes a database in an empty $PGDATA, as the environment says, then starts the server as the user
# postgres; any other command as it is.
#
#   POSTGRES_PASSWORD           the superuser's password: needed, unless the method below is trust
#   POSTGRES_USER               the superuser's name (postgres)
#   POSTGRES_DB                 a database to make (the superuser's name)
#   POSTGRES_INITDB_ARGS        further words for initdb
#   POSTGRES_INITDB_WALDIR      another place for the write-ahead log
#   POSTGRES_HOST_AUTH_METHOD   how connections from elsewhere prove who they are (scram-sha-256)
#
# The first three may be given as NAME_FILE=path instead. In /docker-entrypoint-initdb.d, in the order
# of their names: *.sh is run (read, if it may not be executed), *.sql, *.sql.gz, *.sql.xz and
# *.sql.zst are fed to psql.
set -Eeuo pipefail

say() { echo "docker-entrypoint.sh: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# The value of a variable, or what is in the file that NAME_FILE names, or the default.
setting() { # NAME DEFAULT
    local file=$1_FILE
    [[ -z ${!1:-} || -z ${!file:-} ]] || die "$1 and $file are both set; one is enough"
    if [[ -n ${!file:-} ]]; then
        cat "${!file}" || die "cannot read ${!file}, which $file names"
    else
        printf %s "${!1:-$2}"
    fi
}

read_settings() {
    POSTGRES_PASSWORD=$(setting POSTGRES_PASSWORD "")
    POSTGRES_USER=$(setting POSTGRES_USER postgres)
    POSTGRES_DB=$(setting POSTGRES_DB "$POSTGRES_USER")
    export POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB # for the scripts of initdb.d
    unset POSTGRES_PASSWORD_FILE POSTGRES_USER_FILE POSTGRES_DB_FILE
}

check_settings() {
    if [[ ${POSTGRES_HOST_AUTH_METHOD:-} == trust ]]; then
        say "warning: POSTGRES_HOST_AUTH_METHOD=trust lets anyone in who reaches this port"
    elif [[ -z $POSTGRES_PASSWORD ]]; then
        die "the superuser has no password: say -e POSTGRES_PASSWORD=... (or, for a trial," \
            "-e POSTGRES_HOST_AUTH_METHOD=trust)"
    fi
}

# As root: what the server writes to belongs to postgres, whatever was mounted there.
own_directories() {
    mkdir -p "$PGDATA" /run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"}
    find "$PGDATA" /run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} \
        \! -user postgres -exec chown postgres '{}' +
    chmod 700 "$PGDATA"
}

make_cluster() {
    local -a arguments=(--username="$POSTGRES_USER" --auth=trust)
    [[ -z $POSTGRES_PASSWORD ]] || arguments+=(--pwfile=/dev/stdin)
    [[ -z ${POSTGRES_INITDB_WALDIR:-} ]] || arguments+=(--waldir="$POSTGRES_INITDB_WALDIR")
    # Words as a shell would split them: "--data-checksums --locale='de_DE.UTF-8'".
    eval "initdb \"\${arguments[@]}\" ${POSTGRES_INITDB_ARGS:-}" <<<"$POSTGRES_PASSWORD"

    # Above, who comes from this container is trusted; who comes from elsewhere is not.
    local method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption)}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# psql as the superuser, who stops at an error: at the database that POSTGRES_DB names, or at --dbname.
run_sql() {
    PGDATABASE=$POSTGRES_DB psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 --username="$POSTGRES_USER" "$@"
}

run_init_script() {
    say "running $1"
    case $1 in
        *.sh)
            if [[ -x $1 ]]; then
                "$1"
            else
                # shellcheck source=/dev/null
                . "$1"
            fi
            ;;
        *.sql) run_sql --file="$1" ;;
        *.sql.gz) gunzip --stdout "$1" | run_sql ;;
        *.sql.xz) xz --decompress --stdout "$1" | run_sql ;;
        *.sql.zst) zstd --decompress --stdout --quiet "$1" | run_sql ;;
        *) say "leaving out $1: not .sh, .sql, .sql.gz, .sql.xz or .sql.zst" ;;
    esac
}

# With the server up, but for this container only: nobody shall find half of a database.
fill_cluster() { # SERVER'S ARGUMENTS
    local script
    PGUSER=$POSTGRES_USER pg_ctl --wait --silent start --options="$(printf '%q ' "$@" -c listen_addresses=)"
    if [[ $POSTGRES_DB != postgres ]]; then
        run_sql --dbname=postgres -v name="$POSTGRES_DB" <<<'CREATE DATABASE :"name";'
    fi
    for script in /docker-entrypoint-initdb.d/*; do
        [[ ! -e $script ]] || run_init_script "$script"
    done
    PGUSER=$POSTGRES_USER pg_ctl --wait --silent --mode=fast stop
    say "the database is made; the server starts"
}

wants_help() {
    local word
    for word in "$@"; do
        case $word in -'?' | --help | --describe-config | -V | --version) return 0 ;; esac
    done
    return 1
}

[[ ${1:-} != -* ]] || set -- postgres "$@"

if [[ ${1:-} == postgres ]] && ! wants_help "$@"; then
    if [[ $(id -u) == 0 ]]; then
        own_directories
        exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
    fi
    if [[ ! -s $PGDATA/PG_VERSION ]]; then
        id -un >/dev/null 2>&1 || die "user $(id -u) has no name here, which PostgreSQL needs"
        read_settings
        check_settings
        make_cluster
        fill_cluster "${@:2}"
    fi
fi
exec "$@"
