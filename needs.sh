#!/usr/bin/env bash
# Installs the Debian packages that minidock needs, those that are not there yet.
#
#   needs.sh run      to run containers
#   needs.sh build    to build its Python dependencies (python-prctl is a C extension)
#   needs.sh python   those dependencies as Debian has them, for install.sh --editable
#   needs.sh lint     what `make check` needs besides Python's packages (libseccomp2 is for pyseccomp)
#   needs.sh test     what the tests hold minidock against
#   needs.sh bench    what `make bench` and tests/parity/table.py need besides
#   needs.sh vm       to make the disposable machine's image and to start it (make vm-test)
#   needs.sh arm64    the same for arm64 on a machine of another architecture (make vm-test ARCH=arm64)
#   needs.sh vagrant  vagrant with libvirt, for make box, make vagrant-test and vagrant up
#
# Several may be named at once. Needs root only if something is missing.
set -euo pipefail

case $(dpkg --print-architecture) in
    arm64) qemu="qemu-system-arm" ;;
    *) qemu="qemu-system-x86" ;;
esac
run=(python3 python3-venv iproute2 iptables busybox-static mmdebstrap debian-archive-keyring ca-certificates
     tini e2fsprogs)
build=(gcc libc6-dev libcap-dev python3-dev python3-venv)
python=(python3-click python3-pyroute2 python3-prctl python3-sh python3-zstandard python3-isal python3-urllib3 python3-rich)
vagrant=(vagrant vagrant-libvirt libvirt-daemon-system libvirt-clients dnsmasq-base rsync
         openssh-client "$qemu" qemu-utils)
lint=(shellcheck libseccomp2)
test=(docker.io podman runc
      skopeo buildah docker-registry strace nftables conntrack zstd curl procps
      util-linux libcap2-bin bash-completion git postgresql-client xfsprogs)
bench=(hyperfine netavark aardvark-dns)
arm64=(qemu-system-arm qemu-user)
vm=("$qemu" mmdebstrap debian-archive-keyring e2fsprogs openssh-client cpio xz-utils)
# Packages that only some releases have: docker's client is inside docker.io on Ubuntu 24.04, and
# Debian 12 has no buildx (the client of BuildKit, which `build` is held against).
if_known=(docker-cli docker-buildx)

wanted=()
for group in "$@"; do
    case $group in
        run) wanted+=("${run[@]}") ;;
        build) wanted+=("${build[@]}") ;;
        python) wanted+=("${python[@]}") ;;
        arm64) wanted+=("${arm64[@]}") ;;
        vm) wanted+=("${vm[@]}") ;;
        vagrant) wanted+=("${vagrant[@]}") ;;
        lint) wanted+=("${lint[@]}") ;;
        test) wanted+=("${test[@]}" "${if_known[@]}") ;;
        bench) wanted+=("${bench[@]}") ;;
        *) echo "needs.sh: unknown group '$group' (run, build, python, lint, test, bench, vm, arm64, vagrant)" >&2; exit 2 ;;
    esac
done

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }
known() { [[ -n $(apt-cache --names-only search "^$1\$") ]]; }

missing=()
for package in "${wanted[@]}"; do
    installed "$package" || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $(id -u) -ne 0 ]]; then
    echo "needs.sh: only root can install these packages: ${missing[*]}" >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() { # apt's many lines are shown only if it fails
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "needs.sh: apt-get $1 failed" >&2
        exit 1
    }
}

quietly update
available=()
for package in "${missing[@]}"; do
    if [[ " ${if_known[*]} " == *" $package "* ]] && ! known "$package"; then
        continue
    fi
    available+=("$package")
done
[[ ${#available[@]} -gt 0 ]] || exit 0
echo "needs.sh: installing ${available[*]}"
quietly install -y --no-install-recommends "${available[@]}"
