#!/bin/sh
# Sets a Debian machine up: packages, a Python environment in .venv, and the compiled BPF programs. Safe to repeat.
# Exit status 3: something is missing that it cannot get; build/setup.log has the details.
set -eu
home=$(dirname "$(dirname "$(readlink -f "$0")")")
log=$home/build/setup.log

# What each is for: CONTRIBUTING.md, "What we depend on".
packages="ca-certificates clang ethtool git iperf3 iproute2 iputils-ping libbpf1 libbpf-dev linux-libc-dev
    kmod mininet mount nftables openvswitch-switch procps python3 python3-venv tcpdump tshark util-linux
    wireguard-go wireguard-tools"
case $(dpkg --print-architecture 2>/dev/null || :) in
amd64 | i386) packages="$packages user-mode-linux" ;; # what `./nvgre vm` boots; there is none for others
esac

fail() {
    echo "nvgre: $1" >&2
    if [ -s "$log" ]; then
        echo "The end of $log:" >&2
        tail -n 15 "$log" >&2
    fi
    exit 3
}

step() {
    echo "nvgre: $1 ..."
    shift
    "$@" >>"$log" 2>&1 || fail "that failed"
}

missing_packages() {
    for package in $packages; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
}

mkdir -p "$home/build" 2>/dev/null && [ -w "$home/build" ] || fail "cannot write to $home: use sudo, or a copy of your own"
exec 9>"$home/build/setup.lock"
flock 9 # a second first call waits for the first one
: >"$log"

command -v dpkg-query >/dev/null || fail "this is not a Debian; install by hand what testbed/setup.sh lists"
missing=$(missing_packages)
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || fail "packages are missing ($missing); the first call needs root: sudo ./nvgre"
    export DEBIAN_FRONTEND=noninteractive
    step "fetching Debian's package lists" apt-get update
    # shellcheck disable=SC2086 # a list of words
    step "installing Debian packages: $missing" sh "$home/testbed/without_service.sh" apt-get install -y --no-install-recommends $missing
fi
# Debian's Mininet is a system package: the environment has to see it.
step "making a Python environment in .venv" /usr/bin/python3 -m venv --system-site-packages "$home/.venv"
step "installing Python packages" "$home/.venv/bin/python" -m pip install --disable-pip-version-check -e "$home[test]"
step "compiling the BPF programs" "$home/.venv/bin/python" -m nvgre_node.dataplane.build
echo "$home" >"$home/.venv/ready"
echo "nvgre: ready"
