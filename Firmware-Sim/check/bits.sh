#!/usr/bin/env bash
# One set of models and inputs on every processor: label and score checksums must be those of tables/bits.txt.
source "$(dirname "$0")/common.sh"
row='%-26s %-11s %-8s %-9s %-9s\n'
printf "$row" processor kernels model labels scores

show() {  # PROCESSOR KERNELS MODEL, of $output
    printf "$row" "$1" "$2" "$3" "$(field labels)" "$(field scores)"
    grep -q "^$3 labels $(field labels) scores $(field scores)$" tables/bits.txt || fail "$1 $2 $3: not the bits of tables/bits.txt"
}
linux() {  # PROCESSOR KERNELS COMMAND...
    local name=$1 isa=$2 model
    shift 2
    while read -r model shape; do
        output=$("$@" models/$model.mkq models/$model.raw --size "$shape" --isa "$isa") || true
        # Only vector extensions of the machine at hand may be absent; emulated processors have what they are asked for.
        if grep -q "^usage" <<<"$output" && [[ $isa == avx* ]]; then
            echo "skipped: $name has no $isa"
        else
            show "$name" "$isa" "$model"
        fi
    done <models/sizes.txt
}
for isa in portable avx2 avx512vnni; do linux "x86-64 Linux" $isa "$BUILD/linux-x86_64/mkrun-lite"; done
while read -r cpu kernels; do
    for isa in $kernels; do linux "$cpu, Linux" "$isa" qemu-aarch64 -cpu "$cpu" "$BUILD/linux-aarch64/mkrun-lite"; done
done <<<"cortex-a53 portable neon
cortex-a72 neon
cortex-a76 dotprod
neoverse-n1 dotprod
max i8mm"
for board in $(boards); do
    for model in $(profile "$board" MODELS); do
        output=$(emulate "$board" "$board" "$model" whole "$(size "$model")" 1)
        show "$board, bare" "$(field isa)" "$model"
    done
done
finish
