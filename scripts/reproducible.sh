#!/bin/sh
# Builds the programs of a release twice, from two clones of the current commit in
# different folders, and compares the bytes. It prints their SHA-256.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for copy in one a/longer/path/to/two; do
	git clone --quiet --no-hardlinks "$here" "$work/$copy"
	git -C "$work/$copy" checkout --quiet "$(git -C "$here" rev-parse HEAD)"
	make --no-print-directory -s -C "$work/$copy" release
done
cd "$work"
if ! diff -r one/bin/release a/longer/path/to/two/bin/release; then
	echo "reproducible: the two builds differ" >&2
	exit 1
fi
cd one/bin/release && sha256sum -- *
