#!/usr/bin/env bash
# The long form of the fault suite: a whole installation is broken at random for DURATION, first with one
# NATS server and then with three, and every recording that comes out of it is checked. SEED repeats a run.
#
#   DURATION=15m SEED=7 scripts/faults.sh
#
# With FENCE=off the services are built without the fence, and the run must find bad recordings: it shows that
# the suite can see. RACE=on builds them with the race detector. TABLE=on writes docs/faults.md instead.
#
#   SEED=7 AWAY=3m scripts/faults.sh scenes
#
# plays what goes wrong with a whole installation, one thing at a time; servers are away for AWAY.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/faultrun" ./internal/faults/faultrun

if [ "${TABLE:-}" = on ]; then
	"$bin/faultrun" table --out=docs/faults.md
	exit
fi
if [ "${1:-}" = scenes ]; then
	"$bin/faultrun" scenes
	exit
fi
args=(--duration="${DURATION:-10m}" --seed="${SEED:-0}")
[ "${RACE:-}" = on ] && args+=(--race)
if [ "${FENCE:-}" = off ]; then
	"$bin/faultrun" random "${args[@]}" --no-fence --expect-bad --only="zombie slicer" --every=800ms --partitions=2
	exit
fi
for nodes in ${NODES:-1 3}; do
	printf '\n=== %s NATS server(s)\n' "$nodes"
	"$bin/faultrun" random "${args[@]}" --nodes="$nodes"
done
