"""counts.py - what a call costs whatever the machine's mood: system calls, user instructions, allocations.

Each is (2N - N) / N: a run of 2N calls less one of N, so that beginning and ending cost nothing. The benchmark's own loop,
counted in the same way, is taken off the instructions. perf's tracepoint counts system calls where it may be used, else
strace, which slows a shared connection down and so changes how much is shared.
"""
import json
import os
import re
import shutil
import subprocess
import tempfile

# client, case, threads, servers
FULL = [(client, case, 1, servers)
        for client in ('mend', 'libmemcached', 'floor')
        for case, servers in (('get_hit', 1), ('get_hit', 3), ('set_100', 1), ('get_multi_100', 1), ('get_multi_100', 4))]
FULL += [('mend', 'set_multi_100', 1, 1), ('mend', 'delete_multi_100', 1, 1), ('mend', 'get_down', 1, 1)]
SHARED = [('mend', 'get_hit', threads, 1) for threads in (4, 16, 64)] + [('libmemcached-pool', 'get_hit', 16, 1)]
QUICK = [('mend', 'get_hit', 1, 1), ('mend', 'get_hit', 1, 3), ('mend', 'set_100', 1, 1), ('mend', 'get_multi_100', 1, 1),
         ('mend', 'get_multi_100', 1, 4), ('mend', 'get_down', 1, 1)]
NOWHERE = '127.0.0.1:9'  # nobody listens at the discard port


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, **more)


def perf_may():
    return bool(shutil.which('perf')) and run(['perf', 'stat', '-e', 'raw_syscalls:sys_enter', 'true']).returncode == 0


def by_perf(command, pin):
    done = run(['perf', 'stat', '-x', ',', '-e', 'raw_syscalls:sys_enter', '--', *command], preexec_fn=pin)
    found = re.search(r'^(\d+),,raw_syscalls', done.stderr, re.M)
    return int(found[1]) if found and done.returncode == 0 else None


def by_strace(command, pin):
    with tempfile.NamedTemporaryFile('r') as out:
        done = run(['strace', '-f', '-c', '-o', out.name, *command], preexec_fn=pin)
        found = re.search(r'^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total', out.read(), re.M)
    return int(found[1]) if found and done.returncode == 0 else None


def by_callgrind(command, pin):
    done = run(['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null', *command], preexec_fn=pin)
    found = re.search(r'Collected : (\d+)', done.stderr)
    return int(found[1]) if found and done.returncode == 0 else None


def by_memcheck(command, pin):
    done = run(['valgrind', '--undef-value-errors=no', *command], preexec_fn=pin)
    found = re.search(r'total heap usage: ([\d,]+) allocs', done.stderr)
    return int(found[1].replace(',', '')) if found and done.returncode == 0 else None


def each(count, command, n, pin):
    once, twice = (count([*command, '--calls', str(times * n)], pin) for times in (1, 2))
    return None if once is None or twice is None else (twice - once) / n


class Counter:
    def __init__(self, track):
        self.track = track
        self.loops = {}
        self.tool = 'perf' if perf_may() else 'strace' if shutil.which('strace') else None
        self.valgrind = bool(shutil.which('valgrind'))

    def command(self, client, case, threads, servers):
        self.track.place({'servers': servers, 'transport': 'tcp', 'placement': 'same'})
        if case == 'get_down':
            self.track.names = NOWHERE
        return self.track.command(client, case, threads)

    def pin(self):
        os.sched_setaffinity(0, self.track.cpus)

    def system_calls(self, what, n):
        if not self.tool:
            return None
        n = max(n, 64 * 20) // 64 * 64  # each thread has the same share
        return each(by_perf if self.tool == 'perf' else by_strace, self.command(*what), n, self.pin)

    def instructions(self, what, n):
        if not self.valgrind:
            return None
        loop = ('loop', *what[1:3], 1)
        if loop not in self.loops:
            self.loops[loop] = each(by_callgrind, self.command(*loop), n, self.pin)
        own = each(by_callgrind, self.command(*what), n, self.pin)
        return None if own is None or self.loops[loop] is None else own - self.loops[loop]

    def allocations(self, what, n):
        return each(by_memcheck, self.command(*what), n, self.pin) if self.valgrind else None

    def of(self, what, timed=False):
        multi = 'multi' in what[1]
        counted = {'client': what[0], 'case': what[1], 'threads': what[2], 'servers': what[3], 'tool': self.tool,
                   'system_calls': self.system_calls(what, 2000 if multi else 10000)}
        if what[2] == 1:
            counted['instructions'] = self.instructions(what, 100 if multi else 1000)
            counted['allocations'] = self.allocations(what, 50 if multi else 500)
        if what[1] == 'get_down':
            counted['ns'] = self.nanoseconds(what)
        return counted

    def nanoseconds(self, what):
        """Of the processor: a call that waits for nothing can be counted so, without a clock at each."""
        def took(client):
            done = run([*self.command(client, *what[1:]), '--calls', '3000000'], preexec_fn=self.pin)
            return json.loads(done.stdout)['client_cpu_us'] * 1000
        return round(took(what[0]) - took('loop'), 1)


def words(counted):
    parts = [f'{counted[name]:.2f} {name.replace("_", " ")}' for name in ('system_calls', 'instructions', 'allocations')
             if counted.get(name) is not None]
    return ', '.join(parts + [f"{counted['ns']} ns"] * ('ns' in counted))


def all_counts(track, quick, say):
    counter, counted = Counter(track), []
    for what in (QUICK + SHARED[1:2] if quick else FULL + SHARED):
        counted.append(counter.of(what))
        say(f'a call of {what[0]}, {what[1]}, {what[2]} threads, {what[3]} servers: {words(counted[-1])}')
    return counted
