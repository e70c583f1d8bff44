#!/usr/bin/env bash
# The engine alone: each program of programs/ is moved between capsules on this machine, once and several times.
# Run as root it does the same again as an ordinary user. The last line is `N passed, N failed`.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
native=$here/../../../native
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
passed=0 failed=0

compile() { gcc -std=c17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -pthread "$@"; }
compile -o "$work/move_local" "$here/move_local.c" "$native"/engine/*.c \
    "$native"/shepherd/{capsule,capsule_wire,init,init_mounts}.c -lzmq || exit 1
make -C "$native" -s build/restorer && cp "$native/build/restorer" "$work/restorer" || exit 1
for program in "$here"/programs/*.c; do
    compile -o "$work/$(basename "$program" .c)" "$program" || exit 1
done

check() {
    local name=$1 output
    shift
    if output=$(cd "$work" && timeout 60 "$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s\n%s\n' "$name" "$output"
    fi
}

both() {
    check "$1" "${@:2}"
    if [ "$(id -u)" = 0 ]; then
        check "$1, ordinary user" setpriv --reuid 12345 --regid 12345 --clear-groups --no-new-privs "${@:2}"
    fi
}

for moves in 1 5; do
    for program in plain threads waits signals; do
        both "$program moved $moves times" ./move_local $moves "./$program" last
    done
done

cat >"$work/hash.py" <<'PYTHON'
import hashlib, sys
print("ready", flush=True)
value = b""
for _ in range(200000):
    value = hashlib.sha256(value).digest()
sys.stdin.readline()
print(value.hex())
PYTHON
wanted=$(echo | python3 "$work/hash.py" | tail -n 1)
both "python3 moved 5 times" bash -c '[ "$(./move_local 5 "$(command -v python3)" hash.py)" = "'"$wanted"'" ]'

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
