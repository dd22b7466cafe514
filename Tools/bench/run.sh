#!/bin/sh
# Speed of conv3d against the register-only instruction limit, in one run. Peers: see README.md.
set -eu
cd "$(dirname "$0")"
swift run -c release convbench "${1:-9}"
