#!/usr/bin/env bash
# What can go wrong, on every board and model: each fault ends with its own status, or with the right labels.
source "$(dirname "$0")/common.sh"
row='%-20s %-8s %-34s %7s %7s\n'
printf "$row" board model fault wanted got

check() {  # FAULT WANTED ARGUMENT...
    local name=$1 wanted=$2
    shift 2
    output=$(emulate "$board" "$image" "$model" "$@")
    local got
    got=$(field status)
    printf "$row" "$board" "$model" "$name" "$wanted" "$got"
    [ "$got" = "$wanted" ] || fail "$output"
    # A run that fails tells no labels; one that survives tells the right ones.
    if [ "$wanted" = 0 ] && [ "$1" = stream ]; then
        grep -q "^$model labels $(field labels) " tables/bits.txt || fail "other labels: $output"
    else
        [ -z "$(field labels)" ] || fail "labels in spite of the fault: $output"
    fi
}
for board in $(boards); do
    period=$(($(profile "$board" SLICE_MICROSECONDS) / 1000))
    for model in $(profile "$board" MODELS); do
        image=$board
        shape=$(size "$model")
        check "a bit of the flash flips" 0 flips 997
        check "scanner stalls" 20 stream "$shape" $period stall 5
        check "scanner drops a slice" 21 stream "$shape" $period drop 5
        check "scanner repeats a slice" 22 stream "$shape" $period repeat 5
        check "scanner swaps two slices" 23 stream "$shape" $period reorder 5
        check "a slice is damaged on the way" 24 stream "$shape" $period damage 5
        check "arena one byte too small" 12 stream "$shape" $period arena 1
        check "volume too large for the arena" 12 whole 96,96,96 $period
        check "watchdog reset at slice 9" 0 stream "$shape" $period reset 9
        grep -q "^resumed at slice 10" <<<"$output" || fail "did not resume: $output"
    done
    model=meshnet
    check "scanner too fast for the board" 25 stream "$(size meshnet)" 1
    check "arguments that make no sense" 2 stream 1,2
    image=$board-conv model=kmamba
    check "model with ops left out of the build" 10 stream "$(size kmamba)" $period
done
finish
