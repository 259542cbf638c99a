#!/bin/sh
# Copies what the guest wrote under one folder, a path below its overlay's upper layer, to where the host sees it.
set -eu
[ -d "$1" ] || exit 0
find "$1" -type c -delete # how an overlay remembers that something was deleted
cp -a --parents -t /run/job/written -- "$1"
