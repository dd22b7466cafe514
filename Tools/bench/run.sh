#!/bin/sh
# run.sh [WHAT [OPTIONS]]: speed and fidelity beside peers from PyPI, which go into a virtual environment outside the checkout. Run it on
# a quiet machine. Tables, numbers and plots go to out/bench. WHAT is one of
#   quick      layers, scan and KAN layer beside the core's limit and peers, a small network with one and two threads: minutes, the default
#   ours       the layers of ours alone, as JSON, without Python
#   networks, kmamba, fidelity, scaling    whole networks; options go to the script (--help)
#   long       everything: more than an hour
set -eu
cd "$(dirname "$0")"
what=${1:-quick}
[ $# -eq 0 ] || shift
programs=.build/release
swift build -c release >&2
swift build -c release --package-path ../.. --product mkquant >&2
swift build -c release --package-path ../.. --product mkrun >&2
if [ "$what" = ours ]; then
    $programs/convbench 9
    exec $programs/tokenbench 9
fi
venv=${MKEDGE_BENCH_VENV:-$HOME/.cache/mkedge-bench}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q -r requirements.txt
python() { "$venv/bin/python" "$@"; }
layers() {
    python layers.py $programs/convbench "$1"
    python tokens.py $programs/tokenbench "$1"
}
has_data() { python -c 'import common; common.need_data()'; }
case $what in
    quick)
        layers 5
        if has_data; then python networks.py --models model5_gw_ae --peers openvino --rounds 3; fi ;;
    networks | fidelity | scaling) python "$what.py" "$@" ;;
    kmamba) python kmamba_speed.py "$@" ;;
    long)
        layers 9
        for what in networks kmamba_speed fidelity scaling; do python $what.py; done ;;
    *) sed -n '2,8s/^# //p' run.sh >&2; exit 2 ;;
esac
