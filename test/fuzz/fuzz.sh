#!/usr/bin/env bash
# fuzz.sh - the parsers and the connection under libFuzzer, with ASan and UBSan.
#
#     test/fuzz/fuzz.sh SECONDS     a fifth of them for each of fuzz_wire, fuzz_conn, fuzz_servers, fuzz_listing, fuzz_codec
#
# Builds in build/fuzz. What is found to be new is kept in build/fuzz/corpus/, and used the next time; the corpora of
# the tree (test/fuzz/corpus) are where it begins. An input that fails is kept in build/fuzz/, its replay is printed,
# and the script ends with 1. Needs clang with its fuzzer runtime: Debian's packages clang and libclang-rt-14-dev.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

seconds=${1-}
case $seconds in '' | *[!0-9]*) echo 'usage: test/fuzz/fuzz.sh SECONDS' >&2; exit 2 ;; esac
clang=${CLANG:-clang} out=build/fuzz
mkdir -p "$out"

missing() { echo "fuzz: $1. As root: apt-get install $2" >&2; exit 1; }

command -v "$clang" >/dev/null || missing 'there is no clang here' 'clang libclang-rt-14-dev'
echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n); int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n == 7 ? 0 : 0; }' |
    "$clang" -x c - -fsanitize=fuzzer,address,undefined -o "$out/probe" 2>"$out/probe.log" || {
    tail -n 3 "$out/probe.log" >&2
    missing "$clang has no fuzzer runtime (libclang_rt.fuzzer) here" "libclang-rt-$("$clang" -dumpversion | cut -d. -f1)-dev"
}

# The sanitizers of older compilers don't know where newer kernels, with their longer dice, put things.
calm=()
if setarch "$(uname -m)" -R true 2>/dev/null; then calm=(setarch "$(uname -m)" -R); fi

worst=0 tried=0
declare -A longest=([wire]=2200 [conn]=4096 [servers]=1024 [listing]=512 [codec]=1024) # a line's limit and a little; what takes a millisecond at most
for name in wire conn servers listing codec; do
    "$clang" -g -O1 -std=c11 -D_GNU_SOURCE -Wall -Wextra -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
        -Iinclude -Isrc -Itest/fuzz -DMEND_ZLIB -DMEND_ZSTD src/core/*.c test/fuzz/fuzz.c "test/fuzz/fuzz_$name.c" -lmd -lz -lzstd -o "$out/fuzz_$name"
    mkdir -p "$out/corpus/$name"
    log=$out/$name.log
    began=$SECONDS
    "${calm[@]}" "$out/fuzz_$name" -max_total_time=$((seconds / 5 > 0 ? seconds / 5 : 1)) -max_len="${longest[$name]}" \
        -dict=test/fuzz/words.dict -print_final_stats=1 -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$out/$name-" \
        "$out/corpus/$name" "test/fuzz/corpus/$name" >"$log" 2>&1 && status=0 || status=$?
    units=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    tried=$((tried + ${units:-0}))
    printf 'fuzz_%-8s %9s inputs in %3d s, %6s a second; %s files in build/fuzz/corpus/%s\n' "$name" "${units:-?}" $((SECONDS - began)) \
        "${rate:-?}" "$(find "$out/corpus/$name" -type f | wc -l)" "$name"
    [ "$status" = 0 ] && continue
    worst=1
    grep -aE 'this does not hold|Assertion|ERROR: |SUMMARY|runtime error' "$log" | head -5 || tail -n 5 "$log"
    crash=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "replay it with: $out/fuzz_$name ${crash:-"(no input was kept: see $log)"}"
done
echo "$tried inputs tried, $((tried / (seconds > 0 ? seconds : 1))) a second; $([ $worst = 0 ] && echo 'nothing found' || echo 'something was FOUND')"
exit "$worst"
