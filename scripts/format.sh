#!/usr/bin/env bash
# `npm run format`: brings every source file into the form that `npm run check` asks for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
node_modules/.bin/prettier --log-level warn --write .
find native test examples \( -name '*.c' -o -name '*.h' \) -not -path '*/build/*' -print0 | xargs -0 -r clang-format -i
