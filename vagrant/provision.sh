#!/usr/bin/env bash
# Installs minidock on Debian 13 or Ubuntu 24.04 (or newer). Run it as root in the machine: Vagrant, Lima
# and devcontainers call it; in WSL2, Multipass and a cloud, call it manually. Running it again is safe,
# and quick if nothing changed.
#
#   provision.sh [SOURCE]    SOURCE: minidock's directory (default /vagrant); minidock runs from it
#
#   MINIDOCK_IMAGES=busybox  the base images to make, separated by blanks; images/ has them
#
# The steps are the functions below, in that order. Only missing Debian packages are downloaded: a
# machine made by `make box` has them all.
set -euo pipefail
umask 022

SOURCE=${1:-/vagrant}
IMAGES=${MINIDOCK_IMAGES:-busybox}

say() { printf '%s\n' "provision: $*"; }
die() { printf '%s\n' "provision: $*" >&2; exit 1; }

# Requirements that no package can meet. Why 6.7: docs/decisions/0005.
check_machine() {
    local release
    release=$(uname -r)
    printf '6.7\n%s\n' "$release" | sort -V -C ||
        die "Linux $release is too old: minidock needs 6.7 or newer (Debian 13, Ubuntu 24.04)"
    [[ $(id -u) -eq 0 ]] || die "run it as root"
    [[ -f $SOURCE/install.sh ]] || die "$SOURCE does not contain minidock: install.sh not found"
}

# The machine of `make box` has no systemd-resolved, and may have another network than its image.
name_server() {
    [[ -f /etc/resolv.conf && ! -L /etc/resolv.conf && -f /run/systemd/netif/state ]] || return 0
    local servers
    read -ra servers < <(sed -n 's/^DNS=//p' /run/systemd/netif/state) || return 0
    printf 'nameserver %s\n' "${servers[@]}" >/etc/resolv.conf
}

# Loaded now, so that the first container does not wait for them, and by name at each start.
modules() {
    install -d /etc/modules-load.d
    printf '%s\n' overlay bridge veth br_netfilter >/etc/modules-load.d/minidock.conf
    # In a container the host loads them, in WSL2 they are built in; doctor reports a missing one.
    modprobe -a overlay bridge veth br_netfilter 2>/dev/null || true
}

minidock_itself() {
    (cd "$SOURCE" && bash ./install.sh --editable)
}

images() {
    local image
    for image in $IMAGES; do
        minidock image inspect "$image" >/dev/null 2>&1 || minidock image make "$image"
    done
}

# The alias is set only if docker is not installed; each login checks that.
docker_alias() {
    cat >/etc/profile.d/minidock.sh <<'SH'
command -v docker >/dev/null 2>&1 || alias docker='sudo minidock'
SH
}

# Shown at each login by pam_motd(8), on Debian and Ubuntu alike.
message_of_the_day() {
    install -d /etc/motd.d
    install -m 644 "$SOURCE/vagrant/motd" /etc/motd.d/minidock
    # Debian's own text is not needed here.
    [[ ! -s /etc/motd ]] || : >/etc/motd
}

# Containers with a restart policy start again when the machine boots.
restart_policies() {
    [[ -d /run/systemd/system && -f /etc/systemd/system/minidock.service ]] || return 0
    # A shared folder is mounted late in the boot, or only by Vagrant, which then starts the unit.
    install -d /etc/systemd/system/minidock.service.d
    printf '[Unit]\nRequiresMountsFor=%s\nConditionPathExists=%s/src/minidock/__main__.py\n' \
        "$SOURCE" "$SOURCE" >/etc/systemd/system/minidock.service.d/source.conf
    systemctl daemon-reload
}

# Print one line if all checks pass, otherwise the whole report.
doctor() {
    local report
    report=$(minidock doctor) || { printf '%s\n' "$report"; die "minidock is installed, but cannot run here"; }
    say "$(tail -1 <<<"$report")"
}

check_machine
name_server
modules
minidock_itself
images
docker_alias
message_of_the_day
restart_policies
doctor
say "done in $SECONDS s; for commands to try: cat /etc/motd.d/minidock"
