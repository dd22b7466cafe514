#!/usr/bin/env bash
# Code and read-only bytes of every image against tables/sizes.txt, and its symbols against what must not be there.
# `--write` replaces the table.
source "$(dirname "$0")/common.sh"
row='%-22s %8s %9s %6s\n'
table=$(
    printf "$row" image code read-only data
    for board in $(boards); do
        for image in $board $board-conv; do
            "$OBJDUMP" -h "$BUILD/$image.elf" | awk -v image="$image" -v row="$row" '
                function hex(text,  i, value) {
                    for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
                    return value
                }
                $2 ~ /^\.(text|vectors)/ { code += hex($3) }
                $2 ~ /^\.(rodata|got)/ { constant += hex($3) }
                $2 ~ /^\.data/ { data += hex($3) }
                END { printf row, image, code, constant, data }'
        done
    done
)
echo "$table"
if [ "${1:-}" = --write ]; then echo "$table" >tables/sizes.txt; fi
# Another compiler may differ a little; growth by a twentieth is a change to be seen.
while read -r image code constant data; do
    read -r _ was_code was_constant _ < <(grep "^$image " tables/sizes.txt) || fail "$image: not in tables/sizes.txt"
    [ $((code + constant)) -le $(((was_code + was_constant) * 21 / 20)) ] || fail "$image has grown: $((was_code + was_constant)) -> $((code + constant)) bytes"
done < <(tail -n +2 <<<"$table")
for board in $(boards); do
    for image in $board $board-conv; do
        symbols=$("$NM" "$BUILD/$image.elf")
        # What must be there, so that an empty list passes nothing.
        grep -q " mk_program$" <<<"$symbols" || fail "$image: no symbols to look at"
        # Allocators, Unicode tables, floating point, hash tables' seeds.
        found=$(grep -E " (malloc|calloc|realloc|_swift_stdlib_.*|arc4random_buf|__aeabi_[df].*|__aeabi_.*2[df]|__(add|sub|mul|div|fix|float|extend|trunc|eq|lt|le|gt|ge|ne|unord)[sdt]f.*|ceil|floor|exp|log|pow)$" <<<"$symbols" || true)
        [ -z "$found" ] || fail "$image contains $(awk '{ print $3 }' <<<"$found" | xargs)"
    done
done
finish
