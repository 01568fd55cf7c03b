#!/bin/sh
# Installs what the tests need beside Go: a real sshd and its clients, tmux,
# rsync, git, script(1), a Python to read with what is not ours, and a browser
# with Node to build the page that it shows. Only what is missing is installed,
# and only on systems with apt-get; elsewhere it says what to install and ends
# with status 1.
set -eu

missing=
need() { # need COMMAND PACKAGE
	PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 && return
	case " $missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac
}

need sshd openssh-server
need ssh openssh-client
need scp openssh-client
need tmux tmux
need rsync rsync
need git git
need python3 python3
need script bsdutils
need file file
need ffmpeg ffmpeg
need chromium chromium
need node nodejs
need npm npm

# The sftp server is no command on the path.
[ -x /usr/lib/openssh/sftp-server ] || [ -x /usr/libexec/openssh/sftp-server ] ||
	[ -x /usr/lib/ssh/sftp-server ] || need sftp-server openssh-sftp-server

if [ -z "$missing" ]; then
	echo "install-test-deps: nothing to install"
	exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "install-test-deps: no apt-get here; install these by hand:$missing" >&2
	exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "install-test-deps: neither root nor sudo; as root run: apt-get install$missing" >&2
		exit 1
	fi
	as_root=sudo
fi

# A policy that denies all starts keeps Debian from running its own sshd
# because a test wants the program. It is put back as it was.
echo "install-test-deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
	trap '$as_root rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086 # a list of packages, to be split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
