#!/usr/bin/env bash
# Install missing Debian packages that minidock needs, by group:
#
#   needs.sh run      run containers
#   needs.sh build    build the Python dependencies (python-prctl is a C extension)
#   needs.sh python   the same dependencies as Debian packages, for install.sh --editable
#   needs.sh lint     `make check`, in addition to Python packages (pyseccomp needs libseccomp2)
#   needs.sh test     the programs that the tests compare minidock with
#   needs.sh bench    `make bench` and tests/parity/table.py, in addition to test
#   needs.sh vm       build and start the image of the disposable VM (make vm-test)
#   needs.sh arm64    the same for arm64 on another architecture (make vm-test ARCH=arm64)
#   needs.sh vagrant  Vagrant with libvirt, for make box, make vagrant-test and vagrant up
#
# Several groups may be given. Root is required only if a package is missing.
set -euo pipefail

case $(dpkg --print-architecture) in
    arm64) qemu="qemu-system-arm" ;;
    *) qemu="qemu-system-x86" ;;
esac
run=(python3 python3-venv iproute2 iptables busybox-static mmdebstrap debian-archive-keyring ca-certificates
     tini e2fsprogs)
build=(gcc libc6-dev libcap-dev python3-dev python3-venv)
python=(python3-click python3-jeepney python3-pyroute2 python3-prctl python3-sh python3-zstandard python3-isal python3-urllib3 python3-rich python3-h11 python3-markdown-it)
vagrant=(vagrant vagrant-libvirt libvirt-daemon-system libvirt-clients dnsmasq-base rsync
         openssh-client "$qemu" qemu-utils)
lint=(shellcheck libseccomp2)
test=(docker.io podman runc
      skopeo buildah docker-registry strace nftables conntrack zstd curl procps
      util-linux libcap2-bin bash-completion git postgresql-client xfsprogs)
bench=(hyperfine netavark aardvark-dns)
arm64=(qemu-system-arm qemu-user)
vm=("$qemu" mmdebstrap debian-archive-keyring e2fsprogs openssh-client cpio xz-utils)
# Packages that only some releases have: Ubuntu 24.04 has the docker client in docker.io and no chromium,
# and Debian 12 has no buildx (BuildKit's client, which the tests compare `build` with).
if_known=(docker-cli docker-buildx chromium chromium-driver)

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
    echo "needs.sh: run as root to install these packages: ${missing[*]}" >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() { # show apt's output only on failure
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
