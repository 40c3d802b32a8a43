/* probe.h - places where a tracer may look in: bpftrace, perf, SystemTap, gdb.
 *
 *     bpftrace -e 'usdt:/usr/lib/.../libmend.so.0:mend:call__end { @[str(arg0), (int32)arg2] = count(); }'
 *
 * Each is one nop in the code and a note in the ELF file, where <sys/sdt.h> was there when the library was built;
 * elsewhere nothing. Arguments must be at hand: they are computed whether anybody looks or not.
 *
 *     call__begin         a call about one key: server's name, mend_operation, key, its length
 *     call__end           server's name, mend_operation, mend_status
 *     state               server's name, mend_state before, mend_state now, why
 *     connection__opened  server's name
 *     connection__closed  server's name, whether it was broken
 *     journal__noted      server's name, key, its length: a write of it may be lost
 */
#ifndef MEND_CLIENT_PROBE_H
#define MEND_CLIENT_PROBE_H

#ifdef MEND_PROBES
#include <sys/sdt.h>
#define PROBE1(name, a) DTRACE_PROBE1(mend, name, a)
#define PROBE2(name, a, b) DTRACE_PROBE2(mend, name, a, b)
#define PROBE3(name, a, b, c) DTRACE_PROBE3(mend, name, a, b, c)
#define PROBE4(name, a, b, c, d) DTRACE_PROBE4(mend, name, a, b, c, d)
#else
#define PROBE1(name, a) ((void)(a))
#define PROBE2(name, a, b) ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#define PROBE4(name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#endif

#endif
