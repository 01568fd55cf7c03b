#!/bin/sh
# Generates pkg/events/*.pb.go from pkg/events/*.proto. Needs Go, nothing else.
set -eu
cd "$(dirname "$0")"
exec go run ./protogen -I ../pkg/events -prefix tapedeck/events -out ../pkg/events events.proto
