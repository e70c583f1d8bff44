#!/usr/bin/env bash
# Makes a fresh checkout ready: checks the kernel, installs what is missing, builds. It can be run again at
# any time; with nothing to do it takes well under a second.
#
#   setup.sh start   what the demonstration needs
#   setup.sh test    what the tests need besides (the default)
#
# As root it installs missing Debian packages and opens /dev/fuse; otherwise it names, in one line to copy,
# just what is missing. Two set-ups in one checkout wait for each other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

purpose=${1:-test}
is_root=false
if [ "$(id -u)" = 0 ]; then is_root=true; fi

say() { printf 'setup: %s\n' "$*"; }
stop() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

mkdir -p dist
exec 9>dist/.setup.lock
flock 9

# ---------------------------------------------------------------- what only the machine can give

check_kernel() {
    local release=${SKEIN_SETUP_KERNEL:-$(uname -r)} major minor
    IFS=.- read -r major minor _ <<<"$release"
    if ((major < 6 || (major == 6 && ${minor%%[!0-9]*} < 7))); then
        stop "Skein needs Linux 6.7 or newer and this is $release. On Debian 12 this brings one, after a restart:" \
            "sudo apt-get install -t bookworm-backports linux-image-$(dpkg --print-architecture 2>/dev/null || echo amd64)"
    fi
}

check_node() {
    local version
    version=$(node -p 'process.versions.node') || stop "Node.js 20 or newer is needed."
    if ((${version%%.*} < 20)); then stop "Node.js 20 or newer is needed and this is $version."; fi
}

sysctl_value() { cat "/proc/sys/${1//.//}" 2>/dev/null || echo "$2"; }

check_namespaces() {
    if [ "$(sysctl_value user.max_user_namespaces 1)" = 0 ]; then
        stop "user namespaces are switched off here. This allows them:" "sudo sysctl -w user.max_user_namespaces=15000"
    fi
    if [ "$(sysctl_value kernel.unprivileged_userns_clone 1)" = 0 ]; then
        stop "user namespaces are for root alone here. This opens them:" "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    fi
    if [ "$(sysctl_value kernel.apparmor_restrict_unprivileged_userns 0)" = 1 ] && ! $is_root; then
        stop "AppArmor restricts user namespaces here. This lifts it:" \
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    fi
    if ! unshare --user --map-root-user --pid --mount --fork --mount-proc true 2>/dev/null; then
        stop "this machine does not let a program make its own user, pid and mount namespaces with a /proc in them" \
            "(inside a container: start that with an unmasked /proc and without a seccomp filter)."
    fi
}

check_devices() {
    local device closed=()
    if [ ! -e /dev/fuse ]; then stop "there is no /dev/fuse. This brings it:" "sudo modprobe fuse"; fi
    for device in /dev/fuse /dev/net/tun; do
        if [ ! -e "$device" ]; then continue; fi
        case $(stat -c %a "$device") in
        *[67]) ;;
        *) closed+=("$device") ;;
        esac
    done
    if ((${#closed[@]} == 0)); then return; fi
    if $is_root; then
        say "opening ${closed[*]} to every user"
        chmod 666 "${closed[@]}"
    else
        stop "${closed[*]} must be open to every user:" "sudo chmod 666 ${closed[*]}"
    fi
}

# ---------------------------------------------------------------- Debian packages

packages_start=(gcc libc6-dev libcrypt-dev make pkg-config libzmq3-dev libmsgpack-dev wamerican procps util-linux)
packages_test=(tmux xz-utils python3 perl openssl clang-format)

# One line a file: the file that shows a package to be there, for machines whose packages have other names.
evidence() {
    case $1 in
    gcc | make | perl | openssl | python3 | tmux | clang-format | pkg-config) command -v "$1" ;;
    libc6-dev) ls /usr/include/stdio.h ;;
    libcrypt-dev) ls /usr/include/crypt.h ;;
    libzmq3-dev) ls /usr/include/zmq.h ;;
    libmsgpack-dev) ls /usr/include/msgpack.h ;;
    wamerican) ls /usr/share/dict/words ;;
    xz-utils) command -v xz ;;
    procps) command -v ps ;;
    util-linux) command -v unshare && command -v flock ;;
    *) return 1 ;;
    esac >/dev/null 2>&1
}

install_packages() {
    local wanted=("${packages_start[@]}") missing=() name
    if [ "$purpose" != start ]; then wanted+=("${packages_test[@]}"); fi
    for name in "${wanted[@]}"; do
        if evidence "$name"; then continue; fi
        missing+=("$name")
    done
    if ((${#missing[@]} == 0)); then return; fi
    if ! command -v apt-get >/dev/null; then
        stop "these Debian packages, or what your system calls them, are missing: ${missing[*]}"
    fi
    if $is_root; then
        say "installing ${missing[*]}"
        apt-get update -qq
    fi
    # From Debian 13 on the C half of msgpack has a package of its own.
    if apt-cache show libmsgpack-c-dev >/dev/null 2>&1; then missing=("${missing[@]/#libmsgpack-dev/libmsgpack-c-dev}"); fi
    if ! $is_root; then
        say "some packages are missing. This installs them:" >&2
        printf '%s\n' "sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >dist/.apt.log 2>&1 ||
        { cat dist/.apt.log >&2; stop "apt-get could not install ${missing[*]} (its words are above)."; }
}

# ---------------------------------------------------------------- npm packages, TypeScript, C

install_modules() {
    local lock_hash
    lock_hash=$(sha256sum <package-lock.json)
    if [ "$(cat node_modules/.skein-lock 2>/dev/null)" = "$lock_hash" ]; then return; fi
    say "installing npm packages"
    npm ci --no-audit --no-fund --loglevel=error
    printf '%s\n' "$lock_hash" >node_modules/.skein-lock
}

build_typescript() {
    local sources=(runtime scheduler mon examples scripts test/bench tsconfig.json package-lock.json)
    if [ -e dist/.built ] && [ -z "$(find "${sources[@]}" -newer dist/.built -print -quit)" ]; then return; fi
    # The stamp is as old as the start of the build, so that what is edited meanwhile is built next time.
    touch dist/.building
    say "building TypeScript"
    node_modules/.bin/tsc -p tsconfig.json
    mv dist/.building dist/.built
}

build_native() {
    local folder
    for folder in native examples/audit; do
        if make -C "$folder" -q all >/dev/null 2>&1; then continue; fi
        say "building $folder"
        make -C "$folder" -s -j "$(nproc)" all
    done
}

check_kernel
check_node
install_packages
check_namespaces
check_devices
install_modules
build_typescript
build_native
