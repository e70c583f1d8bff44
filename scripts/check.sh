#!/usr/bin/env bash
# `npm run check`: everything that can be said about the code without running it. All steps run, so that one
# look shows all that is to mend; the exit status is non-zero if any step failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh

failed=()
step() {
    local name=$1
    shift
    printf '== %s\n' "$name"
    if ! "$@"; then failed+=("$name"); fi
}

c_sources() { find native test examples \( -name '*.c' -o -name '*.h' \) -not -path '*/build/*' -print0; }
c_format() { c_sources | xargs -0 -r clang-format --dry-run -Werror; }
# Warnings are errors in every build of these; this builds what no program has taken up yet, too.
c_warnings() { make -C native -s -j "$(nproc)" all objects && make -C examples/audit -s all && make -C test/bench -s all; }

step "types" node_modules/.bin/tsc -p tsconfig.check.json
step "lint" node_modules/.bin/eslint --cache --cache-location node_modules/.cache/eslint --max-warnings 0 .
step "format" node_modules/.bin/prettier --log-level warn --check .
step "import rules" node dist/scripts/imports.js
step "C format" c_format
step "C warnings" c_warnings

if ((${#failed[@]} > 0)); then
    printf 'check: FAILED: %s\n' "$(printf '%s, ' "${failed[@]}" | sed 's/, $//')"
    exit 1
fi
echo "check: all good"
