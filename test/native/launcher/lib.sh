# What the cases share. $run is the folder of this run.
passed=0 failed=0
LIMIT_S=20
# In every process that is started here: by it what is left over is found.
export SKEIN_LAUNCHER_TEST=$run

ok() { passed=$((passed + 1)); }
bad() {
    failed=$((failed + 1))
    echo "FAILED: $1"
    shift
    local line
    for line in "$@"; do printf '        %s\n' "$line"; done
}
check() { # NAME COMMAND…
    local name=$1
    shift
    if "$@"; then ok; else bad "$name"; fi
}
same() { # NAME WANTED FOUND
    if [ "$2" = "$3" ]; then ok; else bad "$1" "wanted: $2" "found:  $3"; fi
}
has() { # NAME PATTERN TEXT
    if grep -qE -- "$2" <<<"$3"; then ok; else bad "$1" "wanted: $2" "found:  $3"; fi
}
# Wait until a command succeeds; there is no event for what others write to files, so look every 10 ms.
wait_until() { # NAME COMMAND…
    local name=$1 end=$((SECONDS + LIMIT_S))
    shift
    until "$@"; do
        if ((SECONDS > end)); then
            bad "$name" "did not come true in $LIMIT_S s: $*"
            return 1
        fi
        read -rt 0.01 <> <(:) || :
    done
    ok
}

# A node folder. Everything about a node is under $run/$1.
make_node() { # NAME NUMBER ISOLATE
    local state=$run/$1
    rm -rf "$state"
    mkdir -p "$state"
    if [ "$(id -u)" = 0 ]; then chmod 755 "$state"; fi
    printf '# a node\nnode %s\nport 7071\nisolate %s\n' "$2" "$3" >"$state/skein.conf"
    echo ready >"$state/behave"
    mkfifo "$state/drive"
    : >"$state/heard"
}
skeind=$run/tree/native/build/skeind
enter=$run/tree/native/build/skein-enter
launch() { "$skeind" --config "$run/$1/skein.conf" --daemon; }
# It serves, and the agent has heard what it is told first.
launched() {
    launch "$1" || bad "launching $1"
    wait_until "$1: ready is told" heard "$1" '^ready$'
}
drive() { printf '%b' "$2" >"$run/$1/drive"; }
heard() { grep -qE -- "$2" "$run/$1/heard"; }
heard_times() { [ "$(grep -cE -- "$2" "$run/$1/heard")" = "$3" ]; }
logged() { grep -qE -- "$2" "$run/$1/skeind.log"; }
native() { grep -E -- "^task=$2 " "$run/$1/native.log" | tail -1; }
native_is_there() { [ -n "$(native "$1" "$2")" ]; }
field() { sed -nE "s/.* $2=([^ ]*).*/\1/p" <<<" $1"; }
outer() { read -r pid _ <"$run/$1/skeind.pid" && echo "$pid"; }
inner() { read -r pid _ <"$run/$1/node.pid" && echo "$pid"; }
gone() { ! kill -0 "$1" 2>/dev/null || [ "$(sed -E 's/.*\) (.).*/\1/' "/proc/$1/stat" 2>/dev/null)" = Z ]; }
# All processes that descend from a launcher of this run: they carry its mark. The list is complete before it is looked
# at, and no program is started for that, so that it does not find itself.
left_over() {
    local file files words
    files=$(grep -lszxF "SKEIN_LAUNCHER_TEST=$run" /proc/[0-9]*/environ 2>/dev/null)
    for file in $files; do
        words=()
        mapfile -d '' words 2>/dev/null <"${file%environ}cmdline" || continue
        case "${words[*]:0:2}" in
        *skeind* | *main.js* | *runon* | *shepherd*) echo "${words[*]}" ;;
        esac
    done
}
nothing_left() { [ -z "$(left_over)" ]; }
expect_nothing_left() { same "$1: nothing is left" "" "$(left_over)"; }
stop() { # NAME: end it in order and wait
    local pid
    pid=$(outer "$1") && kill "$pid"
    wait_until "the launcher of $1 ends" gone "$pid"
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
