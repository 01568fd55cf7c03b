#!/bin/sh
# Writes .env beside compose.yaml: a random password for each NATS user and keys for
# S3. It never overwrites one; with one there, it adds what is missing in it.
#
#   ./make-env.sh [FILE]
set -eu
cd "$(dirname "$0")"
case ${1:-} in /*) file=$1 ;; *) file=$(pwd)/${1:-.env} ;; esac
umask 077
touch "$file"

# A letter first: NATS would read a value of digits as a number.
secret() { printf 'k%s' "$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')"; }

add() { # add NAME VALUE
	grep -q "^$1=" "$file" || printf '%s=%s\n' "$1" "$2" >>"$file"
}

for user in INSTALL SLICER COMPLETER ACCESSLOG VIEWER WEB PRODUCER_DEMO SYS ROUTE; do
	add "NATS_${user}_PASSWORD" "$(secret)"
done
add S3_ACCESS_KEY "tapedeck-$(od -An -N 4 -tx1 /dev/urandom | tr -d ' \n')"
add S3_SECRET_KEY "$(secret)"
add GRAFANA_ADMIN_PASSWORD "$(secret)"
echo "credentials are in $file"
