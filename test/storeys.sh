#!/usr/bin/env bash
# storeys.sh - what grep can keep of the house: an arrow only ever points down; and of what doc/DESIGN.md says of its locks and states.
#
#     test/storeys.sh [libmend.so]     prints what breaks a rule as file:line: text, and ends with 1
#
# With a library it also looks at what that exports and needs. Each run first breaks
# every rule once, in a tree of its own, and demands that it is told.
set -euo pipefail
shopt -s nullglob extglob
export LC_ALL=C

words() { printf '[^A-Za-z0-9_.>](%s) *\\(' "$1"; } # a call of one of these, not x->read() nor wire_read()

system_calls=$(words 'open|openat|close|dup[23]?|read|readv|pread|write|writev|pwrite|send(to|msg|mmsg)?|recv(from|msg|mmsg)?|p?poll|p?select|epoll_[a-z0-9_]+|socket|socketpair|accept4|[gs]etsockopt|getsockname|getpeername|fcntl|ioctl|pipe2?|eventfd|timerfd_[a-z]+|getaddrinfo|freeaddrinfo|getrandom|fork|vfork|waitpid|mmap|munmap|madvise|getpid|gettid|kill|sigaction|signal|pthread_sigmask|sched_yield|u?sleep|nanosleep|clock_[a-z]+|gettimeofday|time|syscall|exit|abort|v?f?printf|puts|fopen|getenv')
allocation=$(words 'malloc|calloc|realloc|reallocarray|free|strn?dup|v?asprintf|aligned_alloc|posix_memalign')
threads='pthread_|thrd_|mtx_|cnd_|sem_(init|wait|post|timedwait)|_Thread_local|__thread'
locks='pthread_(mutex|rwlock|spin|cond|barrier)|mtx_|cnd_|sem_(init|wait|post|timedwait)'
waits='pthread_(create|join|cond|barrier)|thrd_|cnd_|sem_(wait|timedwait)'

plain='<(assert|ctype|float|inttypes|limits|math|stdalign|stdarg|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|md5)\.h>|"mend\.h"'
header='[a-z0-9_]+\.h"'

# The lines of C files as file:line: text, without comments and what strings say.
code() {
    [ $# = 0 ] || awk '
        FNR == 1 { comment = 0 }
        {
            line = $0; out = ""
            if (!comment && line ~ /^[ \t]*#[ \t]*include/) { print FILENAME ":" FNR ": " line; next }
            while (line != "") {
                if (comment) {
                    if (!(end = index(line, "*/"))) break
                    line = substr(line, end + 2); comment = 0
                } else if (match(line, /"([^"\\]|\\.)*"|\047([^\047\\]|\\.)+\047|\/\*|\/\//)) {
                    found = substr(line, RSTART, 2)
                    out = out substr(line, 1, RSTART - 1)
                    line = substr(line, RSTART + RLENGTH)
                    if (found == "//") break
                    if (found == "/*") comment = 1; else out = out "\"\""
                } else { out = out line; break }
            }
            print FILENAME ":" FNR ": " out
        }' "$@"
}

broken=0
tell() { # WHY: each line that comes in breaks a rule
    local line
    while IFS= read -r line; do
        broken=1
        printf '%s    [%s]\n' "$line" "$1"
    done
}

never() { # WHY PATTERN FILES...
    local why=$1 pattern=$2
    shift 2
    tell "$why" < <(code "$@" | grep -E "^[^:]+:[0-9]+:.*($pattern)" || true)
}

only() { # WHY INCLUDES FILES...
    local why=$1 allowed=$2
    shift 2
    tell "$why" < <(code "$@" | grep -E '^[^:]+:[0-9]+:  *# *include' | grep -Ev "include *($allowed)" || true)
}

rules() {
    local core=(src/core/*.[ch]) world=(src/world/*.[ch]) client=(src/client/*.[ch]) file

    only 'src/core includes itself, and what computes'          "$plain|\"core/$header" src/core/!(method_zlib|method_zstd).c src/core/*.h
    only 'a method includes its library'                        "$plain|<z(lib|std|std_errors)\.h>|\"core/$header" src/core/method_@(zlib|zstd).c
    never 'src/core makes no system call and reads no clock'    "$system_calls|[^A-Za-z0-9_]errno[^A-Za-z0-9_]" "${core[@]}"
    never 'src/core knows no threads'                           "$threads" "${core[@]}"
    never 'memory comes from src/core/memory.c'                 "$allocation" src/core/!(memory).c src/core/*.h "${client[@]}"

    only 'src/world includes itself, src/core and the system'   "<.*>|\"mend\.h\"|\"(core|world)/$header" "${world[@]}"
    never 'locks live in src/client'                            "$locks" "${world[@]}"
    never 'threads begin in src/world/io_posix.c'               'pthread_create' src/world/!(io_posix).c src/world/*.h

    only 'src/client includes the house, and nothing of the system but locks' "$plain|<(pthread|stdatomic)\.h>|\"(core|world|client)/$header" src/client/!(probe).h src/client/*.c
    only 'probes are marks in the ELF file, and no call of the system' '<sys/sdt\.h>' src/client/probe.h
    never 'system calls live in src/world'                      "$system_calls" "${client[@]}"
    never 'what waits goes through io'                          "$waits" "${client[@]}"

    only 'the public header stands alone'                       '<(stdbool|stddef|stdint|string)\.h>' include/mend.h
    only 'the public header is all that an application has'     "<.*>|\"mend\.h\"|\"(\.\./)?(support/)?$header" demo/*.[ch] test/live/*.[ch] test/support/*.[ch]

    only 'the command line has the public header, and borrows from demo and bench' "<.*>|\"mend\.h\"|\"((demo|bench/speed)/)?$header" cli/*.[ch]

    for file in src/*/*.[ch] cli/*.[ch] include/mend.h; do
        head -n 1 "$file" | grep -q "^/\* ${file##*/} - " ||
            tell 'a file begins by saying what it is: /* name - ...' <<<"$file:1: $(head -n 1 "$file")"
    done
    design
}

# What doc/DESIGN.md says of the code, as far as grep can tell.
mutexes() { # each mutex of the library, as struct.member, or file.c.name
    awk '
        /^(static )?(struct|typedef struct) [a-z_]+ *{/ { of = $0; sub(/.*struct /, "", of); sub(/ *{.*/, "", of) }
        /^}/ { of = "" }
        /^ *(static )?pthread_mutex_t / {
            name = $0; sub(/.*pthread_mutex_t */, "", name); sub(/[^a-z_].*/, "", name)
            print (of ? of : substr(FILENAME, 5)) "." name
        }' src/*/*.[ch] | sort
}

drawn() { # the lines of the drawings that follow a comment with a file's name, as file: line
    awk '
        /^<!-- src\/[a-z\/]*\.h -->$/ { file = $2; next }
        file && /^    / { print file ": " substr($0, 5) }
        file && /^[^ ]/ { file = "" }' doc/DESIGN.md
}

design() {
    local told line
    told=$(sed -n 's/^| `\([a-z_.]*\)` | mutex: .*/\1/p' doc/DESIGN.md | sort)
    tell 'a mutex without a row in the table of locks' < <(comm -23 <(mutexes) <(echo "$told") | sed '/^$/d; s|^|doc/DESIGN.md:0: |')
    tell 'in the table of locks, and no mutex'         < <(comm -13 <(mutexes) <(echo "$told") | sed '/^$/d; s|^|doc/DESIGN.md:0: |')
    tell 'a drawing that is not as in its header'      < <(drawn | while IFS= read -r line; do
        grep -qxF " * ${line#*: }" "${line%%: *}" || echo "doc/DESIGN.md:0: $line"
    done)
}

exports() { # LIBRARY: has what mend.h declares, no more, and needs nothing but the C library, libmd what values are compressed with and, if it has TLS, OpenSSL
    local declared exported needed
    declared=$(grep -oE '^MEND_API [^(]*\(' include/mend.h | grep -oE 'mend_[a-z_]+\($' | tr -d '(' | sort)
    exported=$(nm -D --defined-only "$1" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort)
    needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    tell 'exported, and not in mend.h' < <(comm -13 <(echo "$declared") <(echo "$exported") | sed "s|^|$1:0: |")
    tell 'in mend.h, and not exported' < <(comm -23 <(echo "$declared") <(echo "$exported") | sed 's|^|include/mend.h:0: |')
    tell 'needed at run time' < <(grep -Ev '^(libc\.so\.6|libc\.musl-.*|libmd\.so\.0|libz\.so\.1|libzstd\.so\.1|lib(ssl|crypto)\.so\.3|libpthread\.so\.0|ld-linux.*)$' <<<"$needed" | sed "s|^|$1:0: |")
}

probes() { # LIBRARY: if it was built with probes, it has those that src/client/probe.h tells of
    local told there
    told=$(grep -oE '^ \*     [a-z]+(__[a-z]+)?  ' src/client/probe.h | tr -d ' *' | sort)
    there=$(readelf -n "$1" | sed -n '/Provider: mend$/{n;s/ *Name: //p}' | sort -u)
    if [ -z "$there" ]; then
        echo 'storeys.sh: built without probes (no sys/sdt.h): these are not looked at'
        return
    fi
    tell 'a probe that src/client/probe.h and the library do not both have' < <(comm -3 <(echo "$told") <(echo "$there") | tr -d '\t' | sed "s|^|$1:0: |")
}

# ---- The proof: every sin must be found, and what only looks like one must not. ----
sin() { # PATH LINE
    mkdir -p "${1%/*}"
    printf '/* %s - a sin. */\n%s\n' "${1##*/}" "$2" >"$1"
}

proof() {
    local file line told sins=(
        'src/core/a.c|#include "world/io.h"'        'src/core/b.c|#include <unistd.h>'           'src/core/c.c|    x = read(fd, p, n);'
        'src/core/d.c|    pthread_mutex_lock(&m);'  'src/core/e.c|    return malloc(n);'         'src/core/f.c|time(NULL);'
        'src/core/g.c|    return errno;'            'src/core/h.c|    clock_gettime(c, &t);'     'src/core/i.h|#include "client/pool.h"'
        'src/world/a.c|#include "client/pool.h"'    'src/world/b.c|pthread_mutex_t lock;'        'src/world/c.c|    if (pthread_create(&t, 0, f, 0))'
        'src/client/a.c|#include <sys/socket.h>'    'src/client/b.c|    n = send(fd, p, n, 0);'  'src/client/c.c|    (void)close(fd);'
        'src/client/probe.h|#include <unistd.h>'    'src/client/stats.h|#include <sys/sdt.h>'
        'src/client/d.c|#include <poll.h>'          'src/client/e.c|    free(p);'                'src/client/f.c|    pthread_cond_wait(&c, &m);'
        'include/mend.h|#include <poll.h>'          'demo/a.c|#include "core/wire.h"'            'test/live/a.c|#include "../../src/core/wire.h"'
        'test/support/a.h|#include "client/pool.h"' 'cli/a.c|#include "core/ring.h"'        'cli/b.c|#include "../src/core/ring.h"')
    for file in "${sins[@]}"; do sin "${file%%|*}" "${file#*|}"; done
    sin src/core/virtue.c '/* read(2) and "malloc(" */ n = b->read(x) + wire_read(p) + f("free(p)", my_errno); // poll(p)'
    sin src/world/io_posix.c '    pthread_create(&t, 0, f, 0), poll(p, n, t);'
    sin src/client/virtue.c '    pthread_mutex_lock(&m);'
    echo 'int x;' >src/core/headless.c
    sin src/client/guarded.h $'struct guarded {\n    pthread_mutex_t lock;\n};\nstatic pthread_mutex_t all;\n/*\n * UP ---> DOWN\n */'
    mkdir doc
    printf '| `%s` | mutex: a row |\n' ghost.lock guarded.lock >doc/DESIGN.md
    printf '<!-- src/client/guarded.h -->\n\n    %s\n    %s\n\nText.\n\n    drawn elsewhere\n' 'UP ---> DOWN' 'DOWN ---> OUT' >>doc/DESIGN.md
    told=$(rules)
    for line in ghost.lock 'client/guarded.h.all' 'src/client/guarded.h: DOWN ---> OUT'; do
        grep -q "^doc/DESIGN.md:0: $line " <<<"$told" || { echo "storeys.sh: blind to $line in doc/DESIGN.md"; exit 1; }
    done
    if [ "$(grep -c '^doc/' <<<"$told")" != 4 ]; then # those, and the lock of src/world/b.c
        grep '^doc/' <<<"$told"
        echo 'storeys.sh: sees faults in doc/DESIGN.md where there are none'
        exit 1
    fi
    for file in "${sins[@]}" 'src/core/headless.c|'; do
        grep -q "^${file%%|*}:" <<<"$told" || { echo "storeys.sh: blind to ${file%%|*}: ${file#*|}"; exit 1; }
    done
    if grep -E '^src/(core/virtue|world/io_posix|client/virtue)' <<<"$told"; then
        echo 'storeys.sh: sees sins where there are none'
        exit 1
    fi
}

library=${1:+$(readlink -f "$1")}
cd "$(dirname "$(readlink -f "$0")")/.."
trap 'rm -rf "$tree"' EXIT
tree=$(mktemp -d)
(cd "$tree" && proof)
rules
[ -z "$library" ] || { exports "$library"; probes "$library"; }
exit "$broken"
