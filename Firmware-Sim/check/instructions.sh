#!/usr/bin/env bash
# Instructions that every kernel executes in each ARM instruction set, and those of the innermost loop of the convolution.
source "$(dirname "$0")/common.sh"
echo "instructions per 16 multiply-adds (conv3d, requantization and all) or per value of the output (others)"
qemu-system-aarch64 -M virt -cpu max -m 64 -nographic -nic none -monitor none -serial none -icount shift=0 \
    -semihosting-config enable=on,target=native -kernel "$BUILD/kernel-count.elf" |
    awk '{ printf "%-18s", $1; for (i = 3; i <= NF; i += 2) printf "  %s %8s", $(i - 1), $i; print "" }'
# The loop over input blocks with three taps of 12 channels by 2 vectors.
loop() {
    "$OBJDUMP" -d --no-show-raw-insn "--disassemble-symbols=mk_conv3d_$1" "$BUILD/kernel-count/kernels_$1.o" |
        awk -v mnemonic="$2" '
            /^ *[0-9a-f]+:/ {
                address = $1; sub(":", "", address); at[address] = ++n
                multiplies += ($2 ~ mnemonic)
                until[n] = multiplies
                if ($2 ~ /^(b\.|cbn?z|tbn?z)/ && match($0, /0x[0-9a-f]+/)) {
                    target = substr($0, RSTART + 2, RLENGTH - 2)
                    if (target in at && until[n] - until[at[target] - 1] == 72) print n - at[target] + 1
                }
            }' | sort -n | head -1
}
for kernel in "dotprod sdot" "i8mm usdot"; do
    read -r isa mnemonic <<<"$kernel"
    count=$(loop "$isa" "$mnemonic")
    [ -n "$count" ] || { fail "no loop of 72 $mnemonic in mk_conv3d_$isa"; continue; }
    printf 'inner loop of conv3d, %s: %d instructions for 72 %s, %d.%02d per 16 multiply-adds\n' \
        "$isa" "$count" "$mnemonic" $((count / 72)) $((count * 100 / 72 % 100))
    [ $((count * 100)) -le $((72 * 135)) ] || fail "more than 1.35 instructions per 16 multiply-adds"
done
finish
