#!/usr/bin/env bash
# Brings the stack of deploy/compose up on a Docker engine, offline, records through it
# while its parts are stopped, and verifies every recording; then the stack with one
# NATS server. It pulls nothing: every image is built here.
#
# Where no engine answers it installs Debian's docker.io and starts one of its own, if
# it is root and has apt-get; where there is no Compose it builds that from its Go
# module. Where an engine is impossible it fails, unless TAPEDECK_COMPOSE_TEST=skip.
set -euo pipefail
cd "$(dirname "$0")/.."

run=$(mktemp -d "${XDG_RUNTIME_DIR:-/tmp}/tapedeck-docker.XXXXXX")
images="producer slicer completer accesslog tapedeck demo nats s3gw"

cannot() {
	echo "compose-test: $*" >&2
	if [ "${TAPEDECK_COMPOSE_TEST:-}" = skip ]; then
		echo "compose-test: NOT RUN. Nothing was tested, because TAPEDECK_COMPOSE_TEST=skip" >&2
		exit 0
	fi
	echo "compose-test: to leave it out all the same, set TAPEDECK_COMPOSE_TEST=skip" >&2
	exit 1
}

install_engine() {
	command -v dockerd >/dev/null && command -v docker >/dev/null && return
	[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
	echo "compose-test: installing docker.io"
	scripts/apt-install.sh docker.io iptables >"$run/apt.log" 2>&1 || return
	# From Debian 13 on the client is a package of its own.
	command -v docker >/dev/null || scripts/apt-install.sh docker-cli >>"$run/apt.log" 2>&1
}

engine=
start_engine() { # start_engine STORAGE-DRIVER
	dockerd --data-root "$run/data-$1" --exec-root "$run/exec" --pidfile "$run/pid" -H "unix://$run/sock" --storage-driver "$1" >"$run/log" 2>&1 &
	engine=$!
	for _ in $(seq 300); do
		docker version >/dev/null 2>&1 && return
		kill -0 "$engine" 2>/dev/null || break
		sleep 0.2
	done
	stop_engine
	return 1
}

stop_engine() {
	[ -z "$engine" ] || { kill "$engine" 2>/dev/null && wait "$engine" || true; }
	engine=
}

cleanup() {
	[ -z "${building:-}" ] || { kill "$building" 2>/dev/null && wait "$building" || true; }
	stop_engine
	rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# What takes long is compiling, and it needs no engine: both at once.
step=$SECONDS
echo "compose-test: building the images, Compose and the test"
{
	DIR=$(scripts/compose-plugin.sh) && scripts/images.sh --binaries $images &&
		CGO_ENABLED=0 go test -trimpath -tags compose -c -o bin/compose.test ./internal/compose
} >"$run/build.log" 2>&1 &
building=$!

if ! docker version >/dev/null 2>&1; then
	install_engine || cannot "no Docker engine answers, and none could be installed here: $(tail -n 3 "$run/apt.log" 2>/dev/null || echo 'that takes root and apt-get')"
	export DOCKER_HOST=unix://$run/sock
	start_engine overlay2 || start_engine vfs || cannot "dockerd does not start here; its last words: $(tail -n 3 "$run/log")"
fi
wait "$building" || { building=; cat "$run/build.log"; exit 1; }
building=
grep '^images:' "$run/build.log"
docker compose version >/dev/null 2>&1 || export DOCKER_CONFIG=$PWD/bin/docker
scripts/images.sh --pack $images
echo "compose-test: engine $(docker version -f '{{.Server.Version}}'), $(docker compose version), images built in $((SECONDS - step)) s"

# The packages of the test find the files where they lie.
(cd internal/compose && ../../bin/compose.test -test.count 1 -test.timeout 10m -test.v -test.run '^Test(Stack|Images)')
echo "compose-test: NOT RUN, because they cannot be pulled everywhere: otel-collector, jaeger, prometheus, grafana. lint-deploy reads their files."
