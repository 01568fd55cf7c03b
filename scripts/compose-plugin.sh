#!/usr/bin/env bash
# Prints a folder with cli-plugins/docker-compose in it, for DOCKER_CONFIG. The plugin
# is built from its Go module if it is not there: no release has to be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v2.40.3
dir=$PWD/bin/docker
plugin=$dir/cli-plugins/docker-compose
if [ "$("$plugin" version --short 2>/dev/null)" != "${version#v}" ]; then
	echo "compose-plugin: building Compose $version from its Go module" >&2
	mkdir -p "$dir/cli-plugins"
	module=$(go mod download -json "github.com/docker/compose/v2@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	CGO_ENABLED=0 go build -C "$module" -trimpath -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=${version#v}" -o "$plugin" ./cmd
fi
echo "$dir"
