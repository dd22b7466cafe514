#!/usr/bin/env bash
# Each board takes a volume slice by slice from its scanner: time, memory, misses of the deadline.
source "$(dirname "$0")/common.sh"
row='%-20s %-8s %-5s %8s %8s %8s %8s %11s %7s %5s %s\n'
printf "$row" board model mode arena plan stack slice-ms instr/MAC busy-ms late labels
for board in $(boards); do
    shift=$(profile "$board" NS_PER_INSTRUCTION_LOG2)
    period=$(($(profile "$board" SLICE_MICROSECONDS) / 1000))
    for model in $(profile "$board" MODELS); do
        output=$(emulate "$board" "$board" "$model" stream "$(size "$model")" $period)
        mode=$(grep -q ' lines$' <<<"$output" && echo lines || echo whole)
        ratio=$(awk -v ns="$(field busy-ns)" -v macs="$(field multiply-adds)" -v s="$shift" 'BEGIN { printf "%.2f", ns / 2 ^ s / macs }')
        printf "$row" "$board" "$model" "$mode" "$(field arena)" "$(field plan)" "$(field stack)" $period "$ratio" \
            $(($(field busy-ns) / 1000000)) "$(field late)" "$(field labels)"
        [ "$(field status)" = 0 ] || fail "$board $model: $output"
        grep -q "^$model labels $(field labels) " tables/bits.txt || fail "$board $model: other labels than at once"
        # Where the network looks at the whole volume first, every slice has to wait for the last.
        [ "$mode" = whole ] || [ "$(field late)" = 0 ] || fail "$board $model: late"
        [ "$(field stack)" -lt $(($(profile "$board" STACK_KIB) * 1024)) ] || fail "$board $model: stack"
    done
done
finish
