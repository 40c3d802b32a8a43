#!/usr/bin/env bash
# coverage.sh - how many lines of what reads foreign bytes the corpora of the tree run through, by themselves.
#
#     test/fuzz/coverage.sh [-v]     -v: and which lines they do not
#
# Builds the targets with gcc --coverage and replay.c in build/coverage, replays test/fuzz/corpus, and counts with
# gcov. Of wire.c the answers' part alone is a parser; the other part writes questions. Ends with 1 under 95 %.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

out=$PWD/build/coverage
for tool in gcc gcov; do
    command -v "$tool" >/dev/null || { echo "coverage: there is no $tool here. As root: apt-get install gcc" >&2; exit 1; }
done
rm -rf "$out"
mkdir -p "$out"

objects=()
for source in src/core/*.c; do
    object=$out/$(basename "$source" .c).o
    gcc --coverage -O0 -g -std=c11 -D_GNU_SOURCE -I"$PWD/include" -I"$PWD/src" -DMEND_ZLIB -DMEND_ZSTD -c "$PWD/$source" -o "$object"
    objects+=("$object")
done
for name in wire conn servers listing codec; do
    gcc --coverage -O0 -g -std=c11 -D_GNU_SOURCE -I"$PWD/include" -I"$PWD/src" -Itest/fuzz "${objects[@]}" \
        test/fuzz/{fuzz,replay,"fuzz_$name"}.c -lmd -lz -lzstd -o "$out/fuzz_$name"
    echo "fuzz_$name: $("$out/fuzz_$name" "test/fuzz/corpus/$name")"
done

(cd "$out" && gcov -o "$out" wire.gcda conn.gcda servers.gcda listing.gcda codec.gcda method_fastlz.gcda >/dev/null)

count() { # NAME FILE FROM: the lines from the one that matches FROM on
    awk -v name="$1" -v from="$3" -v verbose="${verbose:-}" -F: '
        !on && $0 ~ from { on = 1 }
        on && $1 ~ /[0-9]+\*?$/ { run++ }
        on && $1 ~ /#####|=====/ { missed++; if (verbose) print "    " $0 }
        END {
            lines = run + missed
            part = lines ? 100 * run / lines : 0
            printf "%-22s %4d of %4d lines, %6.2f %%\n", name, run, lines, part
            exit part < 95
        }' "$out/$2.gcov"
}
[ "${1-}" != -v ] || verbose=1
worst=0
count 'wire.c, the answers' wire.c '---- Answers ----' || worst=1
count 'conn.c' conn.c . || worst=1
count 'servers.c' servers.c . || worst=1
count 'listing.c' listing.c . || worst=1
count 'codec.c' codec.c . || worst=1
count 'method_fastlz.c' method_fastlz.c . || worst=1
[ $worst = 0 ] || echo 'coverage: under 95 %: the corpora (test/fuzz/corpus) need an input that goes there'
exit $worst
