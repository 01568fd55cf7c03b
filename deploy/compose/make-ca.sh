#!/bin/sh
# Makes a certificate authority and, from it, certificates for NATS and the S3 gateway,
# in tls/ beside compose.yaml. What is there is kept; remove tls/ to begin anew.
#
#   ./make-ca.sh [NAME...]    further names and addresses that the servers are reached by
#
# They are good for 825 days; run it again after removing nats.pem and s3.pem to renew.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p tls
cd tls

days=825
if [ ! -e ca.pem ]; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 -subj "/CN=Tapedeck CA" \
		-addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
		-keyout ca-key.pem -out ca.pem 2>/dev/null
fi

issue() { # issue NAME HOST...
	name=$1
	shift
	[ ! -e "$name.pem" ] || return 0
	names=
	for host; do
		case $host in
		*:* | *[!0-9.]*) ;;
		*) host="IP:$host" ;;
		esac
		case $host in IP:*) ;; *:*) host="IP:$host" ;; *) host="DNS:$host" ;; esac
		names="$names${names:+,}$host"
	done
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -subj "/CN=$name" -keyout "$name-key.pem" -out "$name.csr" 2>/dev/null
	printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\nbasicConstraints=CA:FALSE\n' "$names" >"$name.ext"
	openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days "$days" -sha256 -extfile "$name.ext" -out "$name.pem" 2>/dev/null
	rm "$name.csr" "$name.ext"
}

issue nats nats-1 nats-2 nats-3 localhost 127.0.0.1 "$@"
issue s3 s3 localhost 127.0.0.1 "$@"
# Servers in containers run as another user and are given their own files only; the
# directory keeps all others out.
chmod 644 ca.pem nats.pem nats-key.pem s3.pem s3-key.pem
echo "certificates are in $(pwd); clients on this host need $(pwd)/ca.pem"
