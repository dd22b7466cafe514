# Sourced by the scripts here. BUILD is the folder that make fills; the working directory is Firmware-Sim.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=${BUILD:-../.build/firmware}
NM="$(dirname "$(realpath "$(command -v swiftc)")")/llvm-nm"
OBJDUMP="${NM%nm}objdump"
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}
finish() {
    [ "$failures" = 0 ] || { echo "$failures of the lines above failed"; exit 1; }
}

# size MODEL: width, height and depth of its input
size() { sed -n "s/^$1 //p" models/sizes.txt; }

# (A board whose network card leads nowhere is as it should be: that warning is dropped.)
# emulate BOARD IMAGE MODEL ARGUMENT...: runs an image, prints what it prints and `status N`
emulate() {
    local board=$1 image=$2 model=$3 arguments="" a
    shift 3
    local EMULATOR NS_PER_INSTRUCTION_LOG2 NAME
    eval "$(sed -n "s/^\(EMULATOR\|NS_PER_INSTRUCTION_LOG2\)=\(.*\)/\1='\2'/p" "boards/$board.board")"
    for a in "$@"; do arguments="$arguments,arg=${a//,/,,}"; done
    local status=0
    timeout 300 $EMULATOR -nographic -nic none -monitor none -serial none -icount "shift=$NS_PER_INSTRUCTION_LOG2,sleep=off" \
        -semihosting-config "enable=on,target=native$arguments" -kernel "$BUILD/$image.elf" \
        -device "loader,file=models/$model.mkq,addr=0x$(symbol "$image" _flash_start),force-raw=on" \
        -device "loader,file=models/$model.raw,addr=0x$(symbol "$image" _scanner_start),force-raw=on" 2> >(grep -v "has no peer" >&2) || status=$?
    echo "status $status"
}
symbol() { "$NM" "$BUILD/$1.elf" | awk -v name="$2" '$3 == name { print $1 }'; }

# field NAME: the word after NAME in what a run printed
field() { awk -v name="$1" '{ for (i = 1; i < NF; i++) if ($i == name) { print $(i + 1); exit } }' <<<"$output"; }
profile() { sed -n "s/^$2=//p" "boards/$1.board"; }
boards() { for file in boards/*.board; do basename "$file" .board; done; }
