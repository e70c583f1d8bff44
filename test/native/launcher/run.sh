#!/usr/bin/env bash
# The launcher and skein-enter, with stand-ins for what they start. As root everything runs a second time as an
# ordinary user. Each run works in a copy of the tree's layout, in a temporary folder.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
ordinary=12345

make -C "$root/native" -s build/skeind build/skein-enter build/objects/launcher/request.o || exit 1
folder=$(mktemp -d /tmp/skein-launcher.XXXXXX)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
gcc -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$folder/native_double" "$here/native_double.c" || exit 1
gcc -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$folder/request_test" "$here/request_test.c" \
    "$root/native/build/objects/launcher/request.o" || exit 1

prepare() {
    local run=$1
    mkdir -p "$run/tree/native/build" "$run/tree/dist/runtime/agent" "$run/home"
    cp "$root/native/build/skeind" "$root/native/build/skein-enter" "$run/tree/native/build/"
    cp "$folder/native_double" "$run/tree/native/build/runon"
    cp "$folder/native_double" "$run/tree/native/build/shepherd"
    cp "$folder/native_double" "$run/tree/native/build/restorer"
    cp "$here/agent.double" "$run/tree/dist/runtime/agent/main.js"
    cp "$here/job_control.py" "$here/cases.sh" "$here/lib.sh" "$run/"
}

passed=0 failed=0
tally() {
    local output=$1 line
    printf '%s\n' "$output"
    line=$(printf '%s\n' "$output" | grep -E '^[0-9]+ passed, [0-9]+ failed' | tail -1)
    if [ -z "$line" ]; then
        failed=$((failed + 1))
        echo "FAILED: a part ended without its closing line"
        return
    fi
    read -r one _ two _ <<<"$line"
    passed=$((passed + one)) failed=$((failed + two))
}

echo "== requests"
tally "$("$folder/request_test" 2>&1)"

# Both at once: they spend their time waiting.
prepare "$folder/own"
# Others can't look into it: natives of other users are started from it all the same.
if [ "$(id -u)" = 0 ]; then chmod -R go-rwx "$folder/own/tree"; fi
bash "$folder/own/cases.sh" "$folder/own" >"$folder/own.output" 2>&1 &
if [ "$(id -u)" = 0 ]; then
    prepare "$folder/user"
    chown -R "$ordinary:$ordinary" "$folder/user"
    HOME="$folder/user/home" setpriv --reuid "$ordinary" --regid "$ordinary" --clear-groups \
        bash "$folder/user/cases.sh" "$folder/user" >"$folder/user.output" 2>&1 &
fi
wait
echo "== as $(id -un)"
tally "$(cat "$folder/own.output")"
if [ "$(id -u)" = 0 ]; then
    echo "== as uid $ordinary"
    tally "$(cat "$folder/user.output")"
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
