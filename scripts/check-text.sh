#!/usr/bin/env bash
# The tree must stand alone: no absolute path of somebody's machine, no leftover
# marker for work not done, and no built or third-party file.
set -euo pipefail
cd "$(dirname "$0")/.."

bad=0
if git grep -nE '(/home/[a-z]+/(go|src|work)|/root/|/Users/)' -- ':!scripts/check-text.sh' ':!*/testdata/*'; then
	echo "check-text: a path of one machine is in the tree" >&2
	bad=1
fi
if git grep -nE '\b(TODO|FIXME|XXX)\b' -- '*.go' '*.sh' '*.md' ':!scripts/check-text.sh'; then
	echo "check-text: a marker for work not done is in the tree" >&2
	bad=1
fi
if git ls-files | grep -E '(^|/)(node_modules|vendor)/|\.(exe|so|dylib|min\.js|wasm)$'; then
	echo "check-text: a built or third-party file is in the tree" >&2
	bad=1
fi
exit $bad
