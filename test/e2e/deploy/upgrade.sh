#!/bin/sh
# Installs, upgrades and purges the Debian packages in an overlay of this machine's
# root, which vanishes with the mount namespace. Run it by: unshare --mount sh
# upgrade.sh OLD NEW EMPTY, with two folders of packages and an empty one. It prints a line for each step.
set -eu

old=$1 new=$2 top=$3
mount -t tmpfs none "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay none -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
mount --bind /proc "$top/root/proc"
mkdir -p "$top/root/mnt/old" "$top/root/mnt/new"
cp "$old"/*.deb "$top/root/mnt/old/"
cp "$new"/*.deb "$top/root/mnt/new/"
# The overlay's own folder must not show whether systemd runs on the machine.
rm -rf "$top/root/run/systemd/system"

cat >"$top/root/mnt/steps" <<'STEPS'
set -eu
export DEBIAN_FRONTEND=noninteractive
say() { echo "step: $*"; }
must() { "$@" || { echo "FAILED: $*"; exit 1; }; }
cd /mnt

must dpkg --force-depends -i old/postern-policyctl_*.deb old/postern-policyd_*.deb old/postern-gateway_*.deb
say installed
must getent passwd postern
must getent passwd postern-gateway
must test "$(stat -c '%a %U %G' /etc/postern/certificates)" = "750 root postern-gateway"
must test "$(stat -c '%a %U %G' /etc/postern/cluster)" = "755 root root"
must cmp /usr/share/bash-completion/completions/policyctl /mnt/completion
must policyctl --help >/dev/null
must test ! -e /etc/systemd/system/multi-user.target.wants/postern-policyd.service
must setpriv --reuid postern --regid postern --clear-groups policyd --config /etc/postern/policyd.toml --help >/dev/null
say usable

echo 'level = "debug" # edited' >>/etc/postern/policyd.toml
echo '# edited' >>/etc/postern/gateway.toml
echo '# edited' >>/etc/logrotate.d/postern-policyd
sha256sum /etc/postern/*.toml /etc/logrotate.d/postern-policyd >/mnt/sums
install -d -o postern -g postern -m 700 /var/lib/postern
echo kept >/var/lib/postern/marker
echo key >/etc/postern/certificates/a.key

# The new packages have another default configuration. Without a terminal dpkg keeps
# the edited file.
must dpkg --force-depends --force-confold -i new/postern-policyctl_*.deb new/postern-policyd_*.deb new/postern-gateway_*.deb
must sha256sum -c /mnt/sums
must test -e /etc/postern/policyd.toml.dpkg-dist
say upgraded

# A machine whose administrator removed a file does not get it back.
rm /etc/logrotate.d/postern-policyd
must dpkg --force-depends --force-confold -i new/postern-policyd_*.deb
must test ! -e /etc/logrotate.d/postern-policyd
say kept

must dpkg -r postern-policyd postern-gateway
must test -e /etc/postern/policyd.toml
must dpkg -P postern-policyd postern-gateway postern-policyctl
must test ! -e /etc/postern/policyd.toml
must test ! -e /usr/sbin/policyd
must test "$(cat /var/lib/postern/marker)" = kept
must test "$(cat /etc/postern/certificates/a.key)" = key
say purged
STEPS
cp "$old/../completion" "$top/root/mnt/completion"
exec chroot "$top/root" /bin/sh /mnt/steps
