#!/bin/sh
# Installs the packages that `make demo`, `make cluster-demo` and `make test` need beyond a bare Debian
# 12 with Go. If all are installed, it prints nothing and changes nothing.
#
#   install-deps.sh demo    Prosody
#   install-deps.sh cluster-demo
#                           Prosody and ejabberd
#   install-deps.sh test    Prosody and its modules, ejabberd, slixmpp, Fail2Ban,
#                           a C compiler, expat's headers, Node.js, the
#                           JavaScript test client, go-sendxmpp, profanity, openssl,
#                           systemd-analyze, promtool, logrotate
#
# Only the servers' programs are needed: each test run starts its own servers, in
# its own folder and on loopback ports. Therefore the installation starts no system
# service and leaves none enabled. Run it as root, or as a user with sudo.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
clients=$here/../test/e2e/clients
policy=/usr/sbin/policy-rc.d
saved=/usr/sbin/policy-rc.d.postern-saved
mark='left by install-deps.sh of postern; remove it'

usage() {
	echo "usage: install-deps.sh demo|cluster-demo|test" >&2
	exit 2
}

say() { echo "install-deps: $*" >&2; }
die() { say "$*"; exit 1; }

# Only one run at a time, root or not: two runs would each save the other's
# policy-rc.d as the original. The lock is on this file.
if [ "${POSTERN_INSTALL_LOCKED:-}" != "$0" ] && command -v flock >/dev/null; then
	POSTERN_INSTALL_LOCKED=$0 exec flock "$0" /bin/sh "$0" "$@"
fi

root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "must be root, or have sudo, to install: $missing"
	fi
}

# need PACKAGES... -- TEST... adds the packages to the missing ones if the test
# fails.
need() {
	packages=
	while [ "$1" != -- ]; do
		packages="$packages $1"
		shift
	done
	shift
	"$@" >/dev/null 2>&1 || missing="$missing$packages"
}

# program NAME finds a program on PATH or in /usr/sbin, which a user's PATH may lack.
program() {
	command -v "$1" || test -x "/usr/sbin/$1"
}

headers() {
	test -e /usr/include/expat.h
}

compiler() {
	command -v gcc && test -e /usr/include/stdio.h
}

# Debian's maintainer scripts ask policy-rc.d before they start a service; exit
# status 101 forbids it. The original policy-rc.d is restored in any case.
forbid_services() {
	trap restore_services EXIT
	trap 'exit 1' HUP INT TERM
	if root test -e "$saved"; then # an earlier run was killed half-way
		root mv -f "$saved" "$policy"
	fi
	if root test -e "$policy" && ! root grep -q "$mark" "$policy"; then
		root cp -p "$policy" "$saved"
	fi
	printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" | root tee "$policy.new" >/dev/null
	root chmod 755 "$policy.new"
	root mv -f "$policy.new" "$policy"
}

restore_services() {
	if root test -e "$saved"; then
		root mv -f "$saved" "$policy"
	else
		root rm -f "$policy"
	fi
	trap - EXIT
}

apt() {
	root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		-o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1
}

disable() {
	for unit; do
		root systemctl disable --quiet "$unit" 2>/dev/null || true
	done
}

install_packages() {
	command -v apt-get >/dev/null || die "no apt-get on this system; install yourself:$missing"
	say "installing with apt:$missing"
	log=$(mktemp)
	forbid_services
	# The package lists may be absent (a container image) or too old.
	# shellcheck disable=SC2086
	if ! apt install --no-install-recommends $missing; then
		say "refreshing apt's package lists"
		apt update || { cat "$log" >&2; die "apt-get update did not succeed"; }
		apt install --no-install-recommends $missing ||
			{ cat "$log" >&2; die "apt-get could not install:$missing"; }
	fi
	restore_services
	rm -f "$log"
	# The services must not start at the next boot either.
	if [ -d /run/systemd/system ]; then
		case " $missing " in *" prosody "*) disable prosody ;; esac
		case " $missing " in *" fail2ban "*) disable fail2ban ;; esac
		case " $missing " in *" ejabberd "*) disable ejabberd epmd.socket epmd ;; esac
		case " $missing " in *" prometheus "*) disable prometheus prometheus-node-exporter ;; esac
		case " $missing " in *" logrotate "*) disable logrotate.timer ;; esac
	fi
}

# The stamp is a copy of the lock file that the modules were installed from.
install_javascript() {
	stamp=$clients/node_modules/.installed-from
	cmp -s "$clients/package-lock.json" "$stamp" && return
	say "installing the JavaScript test client with npm"
	log=$(mktemp)
	(cd "$clients" && npm ci --no-audit --no-fund --ignore-scripts) >"$log" 2>&1 ||
		{ cat "$log" >&2; die "npm ci did not succeed in test/e2e/clients"; }
	rm -f "$log"
	cp "$clients/package-lock.json" "$stamp"
}

[ $# = 1 ] || usage
missing=
case $1 in
demo)
	need prosody -- program prosody
	;;
cluster-demo)
	need prosody -- program prosody
	need ejabberd -- program ejabberdctl
	;;
test)
	need prosody -- program prosody
	need prosody-modules -- test -e /usr/lib/prosody/modules/mod_cloud_notify
	need fail2ban -- program fail2ban-regex
	need ejabberd -- program ejabberdctl
	need python3-slixmpp -- /usr/bin/python3 -c 'import slixmpp'
	need libexpat1-dev -- headers
	need gcc libc6-dev -- compiler
	need nodejs npm -- command -v npm
	need go-sendxmpp -- command -v go-sendxmpp
	need profanity -- command -v profanity
	need python3-yaml -- /usr/bin/python3 -c 'import yaml'
	need openssl -- command -v openssl
	need bsdutils -- command -v script
	need systemd -- command -v systemd-analyze
	need prometheus -- command -v promtool
	need logrotate -- program logrotate
	need util-linux -- command -v setpriv
	;;
*) usage ;;
esac
if [ -n "$missing" ]; then
	install_packages
fi
if [ "$1" = test ]; then
	install_javascript
fi
