#!/usr/bin/env bash
# Fuzzes every Fuzz target of the tree, FUZZTIME each (default 30s). Fails if a target
# finds something, or if there is none: a fuzz run that fuzzes nothing is no check.
set -euo pipefail
cd "$(dirname "$0")/.."

found=0
while IFS=: read -r file target; do
	found=$((found + 1))
	echo "=== $target in ./$(dirname "$file")"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" -fuzzminimizetime 20x "./$(dirname "$file")"
done < <(git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/:func /:/')
[ "$found" -gt 0 ] || { echo "fuzz: no fuzz target found" >&2; exit 1; }
echo "fuzz: $found targets, nothing found"
