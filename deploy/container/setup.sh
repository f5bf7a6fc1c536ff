#!/bin/sh
# Sets up the trial of compose.yaml: certificates, keys, a cluster of three nodes, two
# gateways and a tenant with a domain on each XMPP server. Run it once; "docker
# compose down --volumes" and removing the folder state undo it. COMPOSE names another
# program, such as "podman compose".
set -eu
cd "$(dirname "$0")"
compose=${COMPOSE:-docker compose}

if [ -e state ]; then
	echo "setup: the folder state exists: remove it for a new trial" >&2
	exit 1
fi
# The containers' user writes here. Keys in it have mode 0600.
mkdir -m 700 state
mkdir -m 777 state/files

$compose build n1
one() { $compose run --rm --no-deps -v "$PWD/state/files:/files" "$@"; }
one n1 policyctl cluster init --name trial --nodes n1=n1,n2=n2,n3=n3 --etc /etc/postern --out /files/cluster
one n1 policyctl cluster create --data /var/lib/postern --name trial

$compose up --detach n1 n2 n3 prosody ejabberd
until $compose exec n1 policyctl status >/dev/null 2>&1; do
	echo "setup: waiting for the cluster"
	sleep 2
done
for gateway in edge1 edge2; do
	$compose exec n1 policyctl gateway add "$gateway" --out "/files/$gateway.nkey"
done
$compose exec -T n1 policyctl apply -f /dev/stdin --yes <trial.toml

$compose up --detach edge1 edge2
$compose exec n1 policyctl cluster status
echo "setup: connect to localhost:5222 or localhost:6222 as a user of prosody.example or ejabberd.example."
echo "setup: make accounts with: $compose exec prosody prosodyctl adduser alice@prosody.example"
