#!/bin/sh
# run.sh [quick]: conv3d against the instruction limit of this core, selective scan and KAN layer beside float32 in C and, unless quick,
# all of them against peers from PyPI (installed into a virtual environment outside the checkout). Run it on a quiet machine.
set -eu
cd "$(dirname "$0")"
swift build -c release
bench=.build/release/convbench
if [ "${1:-}" = quick ]; then
    "$bench" 9
    exec .build/release/tokenbench 9
fi
venv=${MKEDGE_BENCH_VENV:-$HOME/.cache/mkedge-bench}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q -r requirements.txt
grep -m1 "model name" /proc/cpuinfo | sed 's/.*: /machine: /'
"$venv/bin/python" peers.py "$bench" 9
"$venv/bin/python" tokens.py .build/release/tokenbench 9
