#!/usr/bin/env bash
# planted.sh - bugs that the simulation must find: each is put into a copy of the library, and lived with.
#
#     test/sim/planted.sh [NAME ...]     all, or those named; from the root of the tree
#     test/sim/planted.sh --apply        only tells those whose patch no longer applies
#
# A planted bug is test/sim/planted/NAME.patch; its first line says what it is. Fails if one survives LIVES lives
# (20000), or if a patch no longer applies: then the code that it breaks has changed, and the patch has to follow.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

if [ "$*" = --apply ]; then
    stale=0
    for patch in test/sim/planted/*.patch; do
        patch -s -p1 --dry-run -f <"$patch" >/dev/null || { echo "$patch no longer applies"; stale=1; }
    done
    exit "$stale"
fi

lives=${LIVES:-20000}
work=${TMPDIR:-/tmp}/mend-planted.$$
trap 'rm -rf "$work"' EXIT
names=("$@")
[ ${#names[@]} -gt 0 ] || names=($(cd test/sim/planted && ls -- *.patch | sed 's/\.patch$//'))
survived=0 caught=0

for name in "${names[@]}"; do
    patch=test/sim/planted/$name.patch
    rm -rf "$work" && mkdir -p "$work/test" && cp -r include src "$work" && cp -r test/sim test/support "$work/test"
    if ! patch -s -p1 -d "$work" <"$patch" >"$work/patch.log" 2>&1; then
        echo "$name: does not apply:" && cat "$work/patch.log"
        survived=$((survived + 1))
        continue
    fi
    # without zlib, zstd and OpenSSL, which may not be there
    (cd "$work" && ${CC:-cc} -O1 -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -Itest $(ls src/*/*.c | grep -v 'method_z\|io_tls.c') test/sim/*.c test/support/toy.c -lmd -lpthread -o sim)
    began=$SECONDS
    if "$work/sim" --lives "$lives" >"$work/out" 2>&1; then
        printf '%-28s SURVIVED %s lives: %s\n' "$name" "$lives" "$(head -n 1 "$patch")"
        survived=$((survived + 1))
    else
        printf '%-28s caught in %3d s: %s\n' "$name" $((SECONDS - began)) "$(grep -a -m 1 -A 1 FAILED "$work/out" | sed 's/The story of it: .* --seed/seed/' | paste -sd, || tail -n 1 "$work/out")"
        caught=$((caught + 1))
    fi
done
echo "$caught planted bugs caught, $survived survived"
[ "$survived" -eq 0 ]
