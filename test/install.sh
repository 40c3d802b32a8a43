#!/usr/bin/env bash
# install.sh - mend as its users get it: installed, found by pkg-config and by CMake, compiled against, run.
#
# Builds and installs into a temporary prefix, as a distribution would (a release
# build), so it takes nothing from the tree that the installation does not have.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

tmp=$(mktemp -d)
memcached=
finish() {
    [ -z "$memcached" ] || kill "$memcached" 2>/dev/null || true
    rm -rf "$tmp"
}
trap finish EXIT
say() { echo "install.sh: $*"; }
fail() { say "$*" >&2; exit 1; }

# ---- Installed ----
quietly() { "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log"; fail "failed: $*"; }; }
quietly meson setup "$tmp/build" . --prefix="$tmp/usr" --buildtype=release -Dtests=false
built=(mend:shared_library mend:static_library)
if pkg-config --exists json-c; then built+=(mend:executable); fi # without it, there is no command line
quietly meson compile -C "$tmp/build" "${built[@]}"
quietly meson install -C "$tmp/build" --no-rebuild

pc=$(find "$tmp/usr" -name mend.pc)
[ -n "$pc" ] || fail 'no mend.pc'
libs=$(dirname "$(dirname "$pc")")
for file in "$libs/libmend.a" "$libs/libmend.so" "$libs/libmend.so.0" "$tmp/usr/include/mend.h" "$libs"/cmake/mend/mend-config{,-version}.cmake; do
    [ -e "$file" ] || fail "not installed: ${file#"$tmp"}"
done
soname=$(readelf -d "$libs/libmend.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ "$soname" = libmend.so.0 ] || fail "the soname is '$soname'"

export PKG_CONFIG_PATH=${pc%/*}
version=$(sed -n 's/^#define MEND_VERSION "\(.*\)"/\1/p' include/mend.h)
[ "$(pkg-config --modversion mend)" = "$version" ] || fail "mend.pc says $(pkg-config --modversion mend), mend.h $version"
released=$(sed -n 's/^## \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)
[ "$released" = "$version" ] || fail "CHANGELOG.md says $released, mend.h $version"
packaged=$(sed -n '1s/^mend (\(.*\)) .*/\1/p' debian/changelog)
[ "$packaged" = "$version" ] || fail "debian/changelog says $packaged, mend.h $version"

# ---- Compiled against: the example, and the header alone, by each compiler that is there ----
strict=(-Wall -Wextra -Werror -pedantic)
read -ra cflags <<<"$(pkg-config --cflags mend)"
read -ra shared <<<"$(pkg-config --cflags --libs mend)"
read -ra static <<<"$(pkg-config --static --cflags --libs mend)"
for compiler in gcc clang; do
    command -v "$compiler" >/dev/null || continue
    echo '#include <mend.h>' | "$compiler" -std=c11 "${strict[@]}" "${cflags[@]}" -x c -fsyntax-only -
    "$compiler" -std=c11 "${strict[@]}" examples/readme.c -o "$tmp/example" "${shared[@]}"
    say "$compiler compiles it as C11"
done
for compiler in g++ clang++; do
    command -v "$compiler" >/dev/null || continue
    "$compiler" -std=c++11 "${strict[@]}" examples/readme.cpp -o "$tmp/example-cpp" "${shared[@]}"
    say "$compiler compiles it as C++11"
done
[ -x "$tmp/example" ] || fail 'no compiler: neither gcc nor clang'
examples=("$tmp/example" "$tmp/example-static")
[ ! -x "$tmp/example-cpp" ] || examples+=("$tmp/example-cpp")
"${CC:-cc}" -std=c11 examples/readme.c -o "$tmp/example-static" "${static[@]/#-lmend/-l:libmend.a}"
not_shared() { if readelf -d "$1" | grep -q libmend; then fail "${1#"$tmp/"} needs libmend.so"; fi; }
not_shared "$tmp/example-static"

# ---- ...and with CMake ----
if command -v cmake >/dev/null && command -v "${CXX:-c++}" >/dev/null; then
    with_cmake() { cmake -S "$1" -B "$tmp/cmake" -DCMAKE_PREFIX_PATH="$tmp/usr"; }
    quietly with_cmake examples
    quietly cmake --build "$tmp/cmake"
    not_shared "$tmp/cmake/readme-static"
    examples+=("$tmp"/cmake/readme{,-cpp,-static})
    mkdir "$tmp/later"
    sed 's/find_package(mend [0-9.]*/find_package(mend 9.0/' examples/CMakeLists.txt >"$tmp/later/CMakeLists.txt"
    rm -rf "$tmp/cmake/CMakeCache.txt"
    if with_cmake "$tmp/later" >"$tmp/log" 2>&1 || ! grep -q "version: $version" "$tmp/log"; then
        cat "$tmp/log"
        fail 'CMake takes this version for a later one'
    fi
    say 'CMake finds it, and builds the examples: C, C++, static'
else
    say 'no cmake, or no C++ compiler, here: what CMake finds is not tried'
fi

# ---- Compiled: each example, by the line at its head, where what it needs is there ----
cp examples/*.c "$tmp"
for example in examples/*.c; do
    line=$(sed -n 's/^ \* *\(cc .*\)/\1/p' "$example")
    read -ra needed <<<"$(sed -n 's/.*pkg-config --cflags --libs \([^)]*\)).*/\1/p' <<<"$line")"
    if [ -z "$line" ]; then
        [ "$example" = examples/readme.c ] || fail "$example does not say how it is compiled"
    elif pkg-config --exists "${needed[@]}"; then
        (cd "$tmp" && cc() { command "${CC:-cc}" -Wall -Wextra -Werror "$@"; } && eval "$line") || fail "$example does not compile by: $line"
        say "$example compiles by the line at its head"
    else
        say "$example: not all of ${needed[*]} is here: left out"
    fi
done

# ---- Run, with a memcached and without ----
MEMCACHED_PORT_FILENAME="$tmp/port" memcached -u "$(id -un)" -l 127.0.0.1 -p -1 & # -1: a free port, told in the file
memcached=$!
for ((i = 0; i < 100; i++)); do
    [ ! -s "$tmp/port" ] || break
    sleep 0.05
done
port=$(sed -n 's/TCP INET: //p' "$tmp/port")
export LD_LIBRARY_PATH=$libs
for example in "${examples[@]}"; do
    said=$("$example" "127.0.0.1:$port")
    [ "$said" = "hello, says 127.0.0.1:$port" ] || fail "${example#"$tmp/"} said: $said"
done
# ---- The pages, by the name of each function ----
for page in mend mend_fetch mend_get mend_set_multi mend_make_stale mend_str; do
    [ -s "$tmp/usr/share/man/man3/$page.3" ] || fail "not installed: $page(3)"
done
grep -q '^\.Dt MEND_FETCH 3' "$tmp/usr/share/man/man3/mend_loaded_set.3" || fail 'mend_loaded_set(3) is not mend_fetch(3)'

if pkg-config --exists json-c; then
    for file in bin/mend share/man/man1/mend.1 share/bash-completion/completions/mend; do
        [ -e "$tmp/usr/$file" ] || fail "not installed: $file"
    done
    [ "$("$tmp/usr/bin/mend" --version)" = "mend $version" ] || fail "bin/mend is of another version"
    [ "$("$tmp/usr/bin/mend" -s "127.0.0.1:$port" get greeting)" = hello ] || fail "mend get does not find what the example has set"
    say 'the command line runs'
fi
kill "$memcached"
wait "$memcached" || true
memcached=
said=$("$tmp/example" "127.0.0.1:$port")
[[ $said == 'no cache today: '?* ]] || fail "the example, without memcached, said: $said"
say "the example runs: shared, static, and without a memcached ($said)"

# ---- Shown: the README's first C program is the one that ran ----
if [ -e README.md ]; then
    awk '/^```c$/ { inside = 1; next } /^```$/ && inside { exit } inside' README.md >"$tmp/readme.c"
    diff "$tmp/readme.c" examples/readme.c || fail "README.md's first C block is not examples/readme.c"
fi
