#!/bin/sh
# demo.sh BIN OUT: the whole way once, on a real head. Prints what a user would want to know.
set -eu
bin=$1
out=$2
model=Tools/models/brainmask8
head=/usr/share/mricron/templates/ch2.nii.gz
truth=/usr/share/mricron/templates/ch2bet.nii.gz
mkdir -p "$out"
say() { printf '\n$ %s\n' "$*" | sed "s#$bin/##"; "$@"; }
say "$bin/mkquant" convert $model/model.safetensors --config $model/model.json --calibrate $head \
    -o "$out/brainmask8.mkq" --overwrite --quiet
say "$bin/mkrun" segment "$out/brainmask8.mkq" $head -o "$out/ch2_mask.nii.gz" --memory 256MiB --overwrite --quiet \
    --json "$out/ch2_mask.json" --stats "$out/ch2_mask.csv"
say "$bin/mkrun" eval --binary $truth "$out/ch2_mask.nii.gz"
say "$bin/mkrun" overlay $head "$out/ch2_mask.nii.gz" --model "$out/brainmask8.mkq" -o "$out/ch2_mask.png" --overwrite
model=Tools/models/kmamba-nano
say "$bin/mkquant" convert $model/model.safetensors --config $model/model.json --calibrate $head \
    -o "$out/kmamba-nano.mkq" --overwrite --quiet > "$out/kmamba-nano.txt"
sed -n '2p' "$out/kmamba-nano.txt"
printf '(%s lines in %s)\n' "$(wc -l < "$out/kmamba-nano.txt")" "$out/kmamba-nano.txt"
tail -2 "$out/kmamba-nano.txt"
say "$bin/mkrun" segment "$out/kmamba-nano.mkq" $head -o "$out/ch2_regions.nii.gz" --memory 256MiB --overwrite --quiet
say "$bin/mkrun" overlay $head "$out/ch2_regions.nii.gz" --model "$out/kmamba-nano.mkq" -o "$out/ch2_regions.png" --overwrite
printf '\nlabels: %s, %s   pictures: %s, %s\n' "$out/ch2_mask.nii.gz" "$out/ch2_regions.nii.gz" "$out/ch2_mask.png" \
    "$out/ch2_regions.png"
