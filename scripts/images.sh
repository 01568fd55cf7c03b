#!/usr/bin/env bash
# Builds the container images from the host's Go: static binaries, FROM scratch, run
# as nobody, with nothing pulled from anywhere.
#
#   scripts/images.sh                     producer slicer completer accesslog tapedeck
#   scripts/images.sh demo nats s3gw      what compose.offline.yaml needs besides
#   scripts/images.sh --binaries NAME...  only the contexts in bin/images/
#   scripts/images.sh --pack NAME...      only the images, from contexts that are there
#
# TAPEDECK_IMAGE_PREFIX (default: tapedeck) and VERSION name the images, and the
# version is tagged latest too. CA_CERTIFICATES is a PEM file of public authorities;
# by default the host's, and if it has none those that Go carries.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
prefix=${TAPEDECK_IMAGE_PREFIX:-tapedeck}
out=bin/images
ours="producer slicer completer accesslog tapedeck"
limit=$((40 * 1000 * 1000)) # bytes; of the four services

compile=1 pack=1
case ${1:-} in
--binaries) pack= && shift ;;
--pack) compile= && shift ;;
esac
[ $# -gt 0 ] || set -- $ours

static() { # static [-C DIR] OUTPUT PACKAGE [LDFLAG...]: the same on every host with the same Go
	local in=.
	if [ "$1" = -C ]; then
		in=$2
		shift 2
	fi
	local output=$1 package=$2
	shift 2
	CGO_ENABLED=0 go build -C "$in" -trimpath -buildvcs=false -ldflags "-s -w $*" -o "$output" "$package"
}

certificates() { # certificates FILE
	local from=${CA_CERTIFICATES:-}
	for f in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
		[ -n "$from" ] || { [ ! -r "$f" ] || from=$f; }
	done
	if [ -n "$from" ]; then
		cp "$from" "$1"
	else
		echo "images: this host has no certificates of public authorities; taking those that Go carries" >&2
		go run -C tools/images/roots . >"$1"
	fi
	chmod 644 "$1"
}

# base DIR: what every image has beside its program.
base() {
	rm -rf "$1"
	mkdir -p "$1/rootfs/etc/ssl/certs" "$1/rootfs/tmp"
	chmod 1777 "$1/rootfs/tmp"
	certificates "$1/rootfs/etc/ssl/certs/ca-certificates.crt"
	echo 'tapedeck:x:65532:65532:Tapedeck:/tmp:/app' >"$1/rootfs/etc/passwd"
	echo 'tapedeck:x:65532:' >"$1/rootfs/etc/group"
}

module_version() { go list -m -f '{{.Version}}' "$1"; }

# context NAME: writes bin/images/NAME and prints the version and the description.
context() {
	local name=$1 dir=$out/$1 v=$version
	local link="-X github.com/tapedeck-io/tapedeck/internal/version.version=$version"
	base "$dir"
	cp tools/images/Dockerfile "$dir/Dockerfile"
	case $name in
	producer) static "$dir/rootfs/app" ./cmd/producer "$link" && about="records sessions on the event bus" ;;
	slicer) static "$dir/rootfs/app" ./cmd/slicer "$link" && about="turns the events of sessions into parts of recordings" ;;
	completer) static "$dir/rootfs/app" ./cmd/completer "$link" && about="makes finished recordings of sessions that have ended" ;;
	accesslog) static "$dir/rootfs/app" ./cmd/accesslog "$link" && about="delivers access records and notifications" ;;
	tapedeck) static "$dir/rootfs/app" ./cmd/tapedeck "$link" && about="lists, plays, exports and verifies recordings; sets installations up" ;;
	demo)
		static "$dir/rootfs/app" ./internal/compose/demo
		static "$dir/rootfs/producer" ./cmd/producer "$link"
		about="records a scripted session every few seconds" ;;
	nats)
		v=$(module_version github.com/nats-io/nats-server/v2)
		static "$dir/rootfs/app" github.com/nats-io/nats-server/v2 "-X github.com/nats-io/nats-server/v2/server.serverVersion=${v#v}"
		about="nats-server, from its Go module" ;;
	s3gw)
		v=$(module_version github.com/versity/versitygw)
		# In its own module: ours lacks what its other backends need.
		static -C "$(go mod download -json "github.com/versity/versitygw@$v" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" \
			"$PWD/$dir/rootfs/app" ./cmd/versitygw "-X main.Version=$v"
		about="versitygw, from its Go module" ;;
	*)
		echo "images: no image is called $name" >&2
		return 2 ;;
	esac
	case $name in slicer | completer | accesslog)
		# The program itself asks the one that runs whether work gets through.
		echo 'HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/app", "--health"]' >>"$dir/Dockerfile" ;;
	esac
	if [ "$name" = tapedeck ]; then # the list and the tokens of the web server
		mkdir -p "$dir/data"
		echo 'COPY --chown=65532:65532 data/ /data/' >>"$dir/Dockerfile"
	fi
	if [ "$name" = nats ] || [ "$name" = s3gw ]; then
		cp tools/images/Dockerfile.server "$dir/Dockerfile"
		mkdir -p "$dir/data"
		static "$dir/rootfs/probe" ./internal/compose/probe
	fi
	# What the labels say, for when the image is made.
	printf 'about=%q image_version=%q\n' "$about" "$v" >"$dir/about"
	image_version=$v
}

check_size() { # check_size NAME
	local bytes
	bytes=$(find "$out/$1/rootfs" -type f -printf '%s\n' | awk '{n += $1} END {print n}')
	printf 'images: %-10s %5.1f MB  %s\n' "$1" "$(awk "BEGIN {print $bytes / 1e6}")" "$image_version"
	case $1 in producer | slicer | completer | accesslog)
		if [ "$bytes" -gt "$limit" ]; then
			echo "images: $1 is over $((limit / 1000000)) MB" >&2
			return 1
		fi ;;
	esac
}

image() { # image NAME
	local tag=$prefix/$1 about image_version
	. "$out/$1/about"
	"${docker[@]}" build -q --network none \
		--label org.opencontainers.image.title="tapedeck $1" \
		--label org.opencontainers.image.description="$about" \
		--label org.opencontainers.image.version="$image_version" \
		--label org.opencontainers.image.revision="$revision" \
		--label org.opencontainers.image.source=https://github.com/tapedeck-io/tapedeck \
		--label org.opencontainers.image.licenses=Apache-2.0 \
		-t "$tag:$version" -t "$tag:latest" "$out/$1" >/dev/null 2>"$out/$1/log" || {
		cat "$out/$1/log" >&2
		return 1
	}
}

for name; do
	[ -z "$compile" ] || { context "$name" && check_size "$name"; }
done
[ -n "$pack" ] || exit 0

# Engines with BuildKit have it build; older ones have the builder of old.
docker=(docker)
docker buildx version >/dev/null 2>&1 || docker=(env DOCKER_BUILDKIT=0 docker)
for name; do
	image "$name"
done
