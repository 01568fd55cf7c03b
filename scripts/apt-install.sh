#!/bin/sh
# Installs Debian packages for a test that wants their programs. What Debian would
# start on its own stays off: a policy denies it for that long.
#
#   scripts/apt-install.sh PACKAGE...
set -eu

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"
