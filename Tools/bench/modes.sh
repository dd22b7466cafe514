#!/bin/sh
# modes.sh BIN MODEL IMAGE: what the planner predicts for each execution mode, and what it takes. Run it on a quiet machine.
set -eu
bin=$1
model=$2
image=$3
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
echo "| plan | computed | planned MiB | peak MiB | predicted s | measured s |"
echo "|---|---|---|---|---|---|"
row() {
    plan=$("$bin/mkrun" segment "$model" "$image" --dry-run "$@" 2>/dev/null) || return 0
    run=$("$bin/mkrun" segment "$model" "$image" -o "$out/labels.nii" --overwrite --quiet "$@" | tail -2)
    field() { printf '%s\n' "$plan" | sed -n "s/^$1 *//p" | head -1; }
    echo "| $(echo "$run" | sed -n 's/.*[0-9] s, \(.*\), [^,]*, [^,]*thread.*/\1/p') | $(field computed | cut -d' ' -f1) | $(echo "$run" | sed -n 's/.*planned \([0-9.]*\) .*/\1/p') |" \
        "$(echo "$run" | sed -n 's/.*resident \([0-9.]*\) .*/\1/p') | $(field time | cut -d' ' -f2) |" \
        "$(echo "$run" | sed -n 's/.*: \([0-9.]*\) s, .*/\1/p') |"
}
row --mode whole
row --mode lines
row --mode lines --storage disk
row --mode lines --tile 128x512
row --mode lines --tile 64x64
row --mode tiles --tile 96x96x96
row --mode windows
row --mode windows --tile 100 --storage disk
