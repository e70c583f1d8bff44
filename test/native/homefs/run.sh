#!/usr/bin/env bash
# homefs alone: a folder mounted through it must behave as the folder itself. Each script of same/ runs in a plain folder
# and in a mounted one; what it prints and what it leaves behind must be the same. Run as root it does all that again as
# an ordinary user. The last line is `N passed, N failed, N skipped`.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
native=$here/../../../native
work=$(mktemp -d)
trap 'chmod -R u+rwx "$work" 2>/dev/null; rm -rf "$work"' EXIT
chmod 711 "$work"
passed=0 failed=0

compile() { gcc -std=c17 -D_GNU_SOURCE -g -Wall -Wextra -Werror -pthread "$@"; }
sources=("$native"/homefs/*.c)
compile -O1 -o "$work/mount_local" "$here/mount_local.c" "${sources[@]}" &
compile -O1 -o "$work/requests" "$here"/{requests,asked}.c "${sources[@]}" &
compile -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -o "$work/fuzz" "$here"/{fuzz,asked}.c "${sources[@]}" &
for job in $(jobs -p); do wait "$job" || exit 1; done
cp -r "$here"/same "$here"/*.py "$work" && chmod -R a+rX "$work/same" "$work"/*.py || exit 1

verdict() {
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s\n' "$1"
    fi
}

# Everything that a tree shows, but times and inode numbers.
listing() { (cd "$1" && find . -printf '%P %y %m %s %n %l\n' | LC_ALL=C sort); }

as_user() { setpriv --reuid 12345 --regid 12345 --clear-groups --no-new-privs "$@"; }
as_self() { "$@"; }

python=$(readlink -f /usr/bin/python3)
runner() {
    case $1 in
    *.py) echo "$python" ;;
    *) echo bash ;;
    esac
}

make_folders() {
    mkdir "$@" && if [ "$who" = as_user ]; then chown 12345:12345 "$@"; fi
}

check_same() {
    local name=${1##*/} base="$work/$who.${1##*/}" result=0 xattrs=0
    make_folders "$base.plain" "$base.served" "$base.mount"
    if python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.x", b"")' "$base.plain" 2>/dev/null; then
        xattrs=1
    fi
    local env=(env "XATTRS=$xattrs" "HOME=$base.plain" PATH=/usr/bin:/bin LC_ALL=C.UTF-8)
    (cd "$base.plain" && "$who" "${env[@]}" timeout 120 "$(runner "$1")" "$1") >"$base.wanted" 2>&1 </dev/null
    echo "status $?" >>"$base.wanted"
    "$who" "${env[@]}" timeout 120 "$work/mount_local" "$base.served" "$base.mount" "$(runner "$1")" "$1" \
        >"$base.got" 2>&1 </dev/null
    echo "status $?" >>"$base.got"
    listing "$base.plain" >>"$base.wanted"
    listing "$base.served" >>"$base.got"
    diff -a "$base.wanted" "$base.got" || result=1
    verdict "$name ($who)" $result
    rm -rf "$base.plain" "$base.served"
}

# A command in a mounted folder that must succeed; it gets the folder at home as its first argument.
check_good() {
    local name=$1 base="$work/$who.$2" result=0
    make_folders "$base.served" "$base.mount"
    "$who" timeout 120 "$work/mount_local" "$base.served" "$base.mount" "$python" "$work/$2" "$base.served" "${@:3}" \
        </dev/null || result=1
    verdict "$name ($who)" $result
}

check_plain() {
    local name=$1 result=0
    make_folders "$work/$who.$name"
    (cd "$work/$who.$name" && "$who" timeout 120 "$work/$name" "${@:2}") || result=1
    verdict "$name ($who)" $result
}

users=(as_self)
if [ "$(id -u)" = 0 ]; then
    users+=(as_user)
fi
for who in "${users[@]}"; do
    for script in "$work"/same/*; do
        check_same "$script"
    done
    check_good 'changes are seen' seen.py 4
    check_plain requests
done
who=${users[-1]}
check_plain fuzz "${SEED:-4711}" 5000

printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
