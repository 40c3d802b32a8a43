#!/usr/bin/env bash
# figures.sh - measures the promised figures: one table, and figures.json in the build directory.
#
#     bench/figures.sh [--quick] [BUILD]     BUILD is a build directory, build by default
#
# Half a minute with --quick, else 3 to 4 minutes. A figure that is missed is printed as such and is no error: this
# measures, the tests judge. What is not there (strace, valgrind) is not measured, and the table says so.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export LC_ALL=C

quick=()
if [ "${1:-}" = --quick ]; then
    quick=(--quick)
    shift
fi
build=$(readlink -f "${1:-build}")
trap 'rm -rf "$work"' EXIT
work=$(mktemp -d)

say() { echo "figures: $*" >&2; }

run() { # SECONDS COMMAND...: bounded; on a terminal Ctrl-C is for all of them
    timeout --foreground --kill-after=5 "$@"
}

busy_percent() { # of all processors, over a second
    local before
    before=$(grep '^cpu ' /proc/stat)
    sleep 1
    grep '^cpu ' /proc/stat | awk -v before="$before" '{
        split(before, was)
        for (i = 2; i <= 9; i++) all += $i - was[i]
        print all ? int(100 - 100 * ($5 - was[5] + $6 - was[6]) / all) : 0
    }'
}

measure() { # SECONDS PROGRAM: one that speaks for itself
    run "$1" "$build/bench/bench-$2" "${quick[@]}" || say "bench-$2 ended with $?: what it did not say is not in the table"
}

# ---- What strace and valgrind count ----

# Each counts one run of N reads, and prints a number. SERVER is @, one that serves, or down.
system_calls() { # N SERVER
    run 60 "$build/bench/bench-served" strace -f -c -o "$work/strace" "$build/bench/bench-steady" "$@" >&2 || return
    awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { calls += $4 } END { print calls }' "$work/strace"
}

allocations() { # N SERVER
    run 120 "$build/bench/bench-served" valgrind --log-file="$work/valgrind" "$build/bench/bench-steady" "$@" >&2 || return
    sed -n 's/.*total heap usage: \([0-9,]*\) allocs.*/\1/p' "$work/valgrind" | tr -d ,
}

count() { # ID WHAT TARGET UNIT TOOL FUNCTION SERVER: (2N - N) / N is what one read costs, whatever it takes to begin and end
    local n=20000 once twice
    [ ${#quick[@]} = 0 ] || n=5000
    say "$2"
    if ! command -v "$5" >/dev/null; then
        printf '%s\t%s\t%s\tnot measured: there is no %s here\tnull\t%s\tunmeasured\n' "$1" "$2" "$3" "$5" "$4"
    elif once=$("$6" "$n" "$7") && twice=$("$6" $((2 * n)) "$7") && [ -n "$once" ] && [ -n "$twice" ]; then
        awk -v n="$n" -v once="$once" -v twice="$twice" -v id="$1" -v what="$2" -v target="$3" -v unit="$4" 'BEGIN {
            each = (twice - once) / n
            if (each < 0) each = 0
            printf "%s\t%s\t%s\t%.3f\t%.3f\t%s\t%s\n", id, what, target, each, each, unit, each < target + 0.05 ? "kept" : "missed"
        }'
    else
        printf '%s\t%s\t%s\tnot measured: %s failed\tnull\t%s\tunmeasured\n' "$1" "$2" "$3" "$5" "$4"
    fi
}

counts() { # SERVER ID WHERE CALLS
    count "$2_system_calls" "system calls a read, $3" "$4" calls strace system_calls "$1"
    count "$2_allocations" "heap allocations a read, $3" 0 allocations valgrind allocations "$1"
}

# ---- The table, and the JSON ----

table() {
    awk -F '\t' '
        $1 == "detail" || NF != 7 { next }
        { n++; cell[n, 1] = $2; cell[n, 2] = $3; cell[n, 3] = $4; cell[n, 4] = $7 == "told" ? "-" : $7 == "unmeasured" ? "?" : $7 }
        BEGIN { cell[0, 1] = "figure"; cell[0, 2] = "target"; cell[0, 3] = "measured"; cell[0, 4] = "kept?" }
        END {
            for (i = 0; i <= n; i++)
                for (c = 1; c <= 4; c++)
                    if (length(cell[i, c]) > width[c]) width[c] = length(cell[i, c])
            for (i = 0; i <= n; i++) {
                printf "%-" width[1] "s | %-" width[2] "s | %-" width[3] "s | %s\n", cell[i, 1], cell[i, 2], cell[i, 3], cell[i, 4]
                if (i > 0) continue
                for (c = 1; c <= 4; c++) {
                    line = sprintf("%" width[c] "s", "")
                    gsub(/ /, "-", line)
                    printf "%s%s", line, c < 4 ? "-|-" : "\n"
                }
            }
        }' "$1"
}

json() {
    awk -F '\t' -v quick="$([ ${#quick[@]} = 0 ] && echo false || echo true)" -v when="$(date -u +%FT%TZ)" \
        -v cpus="$(getconf _NPROCESSORS_ONLN)" -v busy="$busy" -v kernel="$(uname -sr)" \
        -v memcached="$("${MEMCACHED:-memcached}" -V 2>/dev/null || echo unknown)" '
        function text(s) { gsub(/["\\]/, "\\\\&", s); return "\"" s "\"" }
        $1 == "detail" { details = details (details ? ",\n" : "") "    " $2 }
        NF == 7 {
            verdict = $7 == "kept" ? "true" : $7 == "missed" ? "false" : "null"
            figures = figures (figures ? ",\n" : "") "    {\"id\": " text($1) ", \"figure\": " text($2) ", \"target\": " text($3) \
                ", \"measured\": " text($4) ", \"value\": " $5 ", \"unit\": " text($6) ", \"kept\": " verdict "}"
        }
        END {
            printf "{\n  \"when\": %s,\n  \"quick\": %s,\n  \"processors\": %d,\n", text(when), quick, cpus
            printf "  \"busy_before_percent\": %d,\n  \"kernel\": %s,\n  \"memcached\": %s,\n", busy, text(kernel), text(memcached)
            printf "  \"figures\": [\n%s\n  ],\n  \"rounds\": [\n%s\n  ]\n}\n", figures, details
        }' "$1"
}

busy=$(busy_percent)
[ "$busy" -le 20 ] || say "this machine is busy with something else ($busy %): what is measured is worse than the truth"
{
    measure 400 faults
    measure 60 bounded
    measure 60 down
    counts down down 'its server being down' 0
    counts @ steady 'on a warm connection' 2
    measure 120 innocent
} >"$work/figures"

table "$work/figures"
json "$work/figures" >"$build/figures.json"
missed=$(awk -F '\t' '$7 == "missed"' "$work/figures" | wc -l)
if [ "$missed" = 0 ]; then verdict='every promise measured was kept'; else verdict="$missed missed"; fi
say "$verdict; $build/figures.json has it all"
