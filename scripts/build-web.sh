#!/bin/sh
# Builds the page into web/dist, where the Go build embeds it from. Does nothing
# if it is current. Without Node it says so and succeeds: the build then has a
# page that says how to get the real one.
set -eu
cd "$(dirname "$0")/../web"

if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
	echo "build-web: no Node here, so the build has no page; install Node 18 or newer with npm and run make again" >&2
	exit 0
fi
major=$(node -p 'process.versions.node.split(".")[0]')
if [ "$major" -lt 18 ]; then
	echo "build-web: Node $major is too old, so the build has no page; install Node 18 or newer and run make again" >&2
	exit 0
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	echo "build-web: installing what web/package-lock.json lists"
	npm ci --loglevel=error
	touch node_modules/.package-lock.json
fi
if [ -e dist/index.html ] && [ -z "$(find src index.html build.mjs package-lock.json -newer dist/index.html)" ]; then
	exit 0
fi
npm run --silent check
npm run --silent build
echo "build-web: built web/dist"
