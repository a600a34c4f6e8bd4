#!/usr/bin/env bash
# Makes a fresh Debian 13 or Ubuntu 24.04 (or newer) a machine for minidock. As root, in the machine:
# Vagrant, Lima and devcontainers call it; in WSL2, Multipass and a cloud one does by hand. Again is
# safe, and quick where nothing changed.
#
#   provision.sh [SOURCE]    SOURCE=/vagrant: minidock's directory, from which it is run from now on
#
#   MINIDOCK_IMAGES=busybox  the base images to make, of those of images/
#
# Its steps are the functions below, in that order. It asks the internet only for Debian packages that
# are missing: a machine of `make box` has them all.
set -euo pipefail
umask 022

SOURCE=${1:-/vagrant}
IMAGES=${MINIDOCK_IMAGES:-busybox}

say() { printf '%s\n' "provision: $*"; }
die() { printf '%s\n' "provision: $*" >&2; exit 1; }

# What no package can give: docs/decisions/0005 says why 6.7.
check_machine() {
    local release
    release=$(uname -r)
    printf '6.7\n%s\n' "$release" | sort -V -C ||
        die "Linux $release is too old: minidock needs 6.7 or newer (Debian 13, Ubuntu 24.04)"
    [[ $(id -u) -eq 0 ]] || die "run it as root"
    [[ -f $SOURCE/install.sh ]] || die "there is no minidock in $SOURCE"
}

# The machine of `make box` has no systemd-resolved, and another network than the one it was made for.
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
    # In a container they are the host's affair, in WSL2 they are built in: the doctor says what lacks.
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

# Only where no docker is: who installs one later gets it, since an alias asks at each login.
docker_alias() {
    cat >/etc/profile.d/minidock.sh <<'SH'
command -v docker >/dev/null 2>&1 || alias docker='sudo minidock'
SH
}

# Shown at each login by pam_motd(8), on Debian and Ubuntu alike.
message_of_the_day() {
    install -d /etc/motd.d
    install -m 644 "$SOURCE/vagrant/motd" /etc/motd.d/minidock
    # Debian's own has nothing to say to who came to break things.
    [[ ! -s /etc/motd ]] || : >/etc/motd
}

# Containers with a restart policy come back when the machine does.
restart_policies() {
    [[ -d /run/systemd/system && -f /etc/systemd/system/minidock.service ]] || return 0
    # A shared folder comes late in a boot, or only when Vagrant mounts it; then Vagrant starts the unit.
    install -d /etc/systemd/system/minidock.service.d
    printf '[Unit]\nRequiresMountsFor=%s\nConditionPathExists=%s/src/minidock/__main__.py\n' \
        "$SOURCE" "$SOURCE" >/etc/systemd/system/minidock.service.d/source.conf
    systemctl daemon-reload
}

# One line if all is well; all that it says if something is in the way.
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
say "done in $SECONDS s; what to try: cat /etc/motd.d/minidock"
