#!/usr/bin/env bash
# Brings the stack of deploy/compose up on a Docker engine, offline, records through it
# while its parts are stopped, and verifies every recording.
#
# Where no engine answers it installs Debian's docker.io and starts one of its own, if
# it is root and has apt-get; where there is no Compose it builds that from its Go
# module. Where an engine is impossible it fails, unless TAPEDECK_COMPOSE_TEST=skip.
set -euo pipefail
cd "$(dirname "$0")/.."

compose_version=v2.40.3
run=${XDG_RUNTIME_DIR:-/tmp}/tapedeck-docker
tools=$PWD/bin/docker

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
	command -v dockerd >/dev/null && return
	[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || cannot "no Docker engine answers, and this is not root on a Debian that could install one"
	echo "compose-test: installing docker.io"
	apt-get update -q >/dev/null
	# It is started below, on a socket of its own; Debian's policy hook keeps the
	# package from starting it too.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
		policy=/usr/sbin/policy-rc.d
	fi
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends docker.io iptables >/dev/null || cannot "docker.io could not be installed"
	[ -z "${policy:-}" ] || rm -f "$policy"
}

engine=
start_engine() { # start_engine STORAGE-DRIVER
	mkdir -p "$run"
	dockerd --data-root "$run/data-$1" --exec-root "$run/exec" --pidfile "$run/pid" -H "unix://$run/sock" --storage-driver "$1" >"$run/log" 2>&1 &
	engine=$!
	for _ in $(seq 100); do
		DOCKER_HOST=unix://$run/sock docker version >/dev/null 2>&1 && return
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

if ! docker version >/dev/null 2>&1; then
	install_engine
	trap stop_engine EXIT
	start_engine overlay2 || start_engine vfs || cannot "dockerd does not start here; its last words: $(tail -n 3 "$run/log")"
	export DOCKER_HOST=unix://$run/sock
fi

if ! docker compose version >/dev/null 2>&1; then
	if [ ! -x "$tools/cli-plugins/docker-compose" ]; then
		echo "compose-test: building Compose $compose_version from its Go module"
		mkdir -p "$tools/cli-plugins"
		module=$(go mod download -json "github.com/docker/compose/v2@$compose_version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
		CGO_ENABLED=0 go build -C "$module" -trimpath -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$compose_version" \
			-o "$tools/cli-plugins/docker-compose" ./cmd || cannot "Compose could not be built"
	fi
	export DOCKER_CONFIG=$tools
fi
echo "compose-test: engine $(docker version -f '{{.Server.Version}}'), $(docker compose version)"

scripts/images.sh slicer completer accesslog tapedeck demo nats s3gw
go test -tags compose -count 1 -timeout 15m -v -run '^TestStack' ./internal/compose
