#!/usr/bin/env bash
# Has what lies in deploy/ read by the programs that will run it: Compose, nats-server,
# promtool, the OpenTelemetry collector; and the Kubernetes manifests by the schemas of
# their kinds. Nothing is run or pulled. What Grafana reads is tested in
# internal/compose; Jaeger has no file of ours.
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

missing=
command -v promtool >/dev/null || missing="$missing prometheus"
command -v openssl >/dev/null || missing="$missing openssl"
if [ -n "$missing" ]; then
	[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || { echo "lint-deploy: install these Debian packages, or what they hold:$missing" >&2; exit 1; }
	echo "lint-deploy: installing$missing"
	scripts/apt-install.sh $missing >"$tmp/apt.log" 2>&1 || { tail -n 5 "$tmp/apt.log" >&2; exit 1; }
fi

echo "lint-deploy: Prometheus"
mkdir -p "$tmp/etc" && cp -r deploy/observability/prometheus/. "$tmp/etc"
sed -i "s#/etc/prometheus/#$tmp/etc/#" "$tmp/etc/prometheus.yaml"
promtool check config "$tmp/etc/prometheus.yaml"
promtool test rules deploy/observability/prometheus/tests/*.yaml

echo "lint-deploy: Compose"
deploy/compose/make-env.sh "$tmp/env" >/dev/null
export DOCKER_CONFIG
DOCKER_CONFIG=$(scripts/compose-plugin.sh)
single=deploy/compose/compose.single.yaml tls=deploy/compose/compose.tls.yaml offline=deploy/compose/compose.offline.yaml
for overlays in "" "$single" "$tls" "$offline" "$single $tls" "$tls $offline" "$single $tls $offline"; do
	args=(-f deploy/compose/compose.yaml)
	for f in $overlays; do args+=(-f "$f"); done
	"$DOCKER_CONFIG/cli-plugins/docker-compose" --env-file "$tmp/env" --profile '*' "${args[@]}" config --quiet
	echo " compose.yaml $(basename -a $overlays /dev/null | grep -v null | tr '\n' ' ')"
done

echo "lint-deploy: nats-server"
go build -o "$tmp/nats-server" github.com/nats-io/nats-server/v2
cp deploy/compose/make-ca.sh "$tmp" && "$tmp/make-ca.sh" >/dev/null # into $tmp/tls
for wire in plain tls; do # laid out as in the container
	mkdir "$tmp/$wire-etc"
	cp -r deploy/compose/nats "$tmp/$wire-etc/conf" && cp -r "deploy/compose/nats-$wire" "$tmp/$wire-etc/tls"
	sed -i "s#/run/tls/#$tmp/tls/#" "$tmp/$wire-etc"/tls/*.conf
done
set -a
. "$tmp/env"
NATS_NAME=nats-1 NATS_ROUTE_1=nats://route:x@nats-1:6222 NATS_ROUTE_2=nats://route:x@nats-2:6222 NATS_ROUTE_3=nats://route:x@nats-3:6222
set +a
for file in plain-etc/conf/cluster.conf plain-etc/conf/single.conf tls-etc/conf/cluster.conf tls-etc/conf/single.conf; do
	"$tmp/nats-server" -t -c "$tmp/$file"
done

echo "lint-deploy: the collector"
go run -C tools/collector . validate --config "$PWD/deploy/observability/collector.yaml"

echo "lint-deploy: Kubernetes, by schema; nothing is applied"
go test -C tools/kubernetes -count 1 ./...
