"""counts.py - what a call costs whatever the machine's mood: system calls, user instructions, allocations.

Each is (2N - N) / N: a run of 2N calls less one of N, so that beginning and ending cost nothing. The benchmark's own loop,
counted in the same way, is taken off the instructions. perf's tracepoint counts system calls where it may be used, else
strace, which slows a shared connection down and so changes how much is shared.
"""
import concurrent.futures
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

# client, case, threads, servers
FULL = [(client, case, 1, servers)
        for client in ('mend', 'libmemcached', 'floor')
        for case, servers in (('get_hit', 1), ('get_hit', 3), ('set_100', 1),
                              ('get_multi_100', 1), ('get_multi_100', 4))]
FULL += [('floor-meta', 'get_hit', 1, 1), ('crowd', 'get_hit', 1, 1)]
FULL += [('mend', 'set_multi_100', 1, 1), ('mend', 'delete_multi_100', 1, 1), ('mend', 'get_down', 1, 1),
         ('mend', 'set_down', 1, 1), ('mend', 'set_down_again', 1, 1)]
SHARED = [('mend', 'get_hit', threads, 1) for threads in (4, 16, 64)] + [('crowd', 'get_hit', 16, 1), ('libmemcached-pool', 'get_hit', 16, 1)]
QUICK = [('mend', 'get_hit', 1, 1), ('mend', 'get_hit', 1, 3), ('mend', 'set_100', 1, 1),
         ('mend', 'get_multi_100', 1, 1), ('mend', 'get_multi_100', 1, 4), ('mend', 'get_down', 1, 1),
         ('mend', 'set_down', 1, 1), ('mend', 'set_down_again', 1, 1)]
NOWHERE = '127.0.0.1:9'  # nobody listens at the discard port
DOWN = {'get_down': 3000000, 'set_down': 30000, 'set_down_again': 3000000}  # calls; set_down: each key once


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, **more)


def perf_may():
    return bool(shutil.which('perf')) and run(['perf', 'stat', '-e', 'raw_syscalls:sys_enter', 'true']).returncode == 0


def by_perf(command, pin=None):
    done = run(['perf', 'stat', '-x', ',', '-e', 'raw_syscalls:sys_enter', '--', *command], preexec_fn=pin)
    found = re.search(r'^(\d+),,raw_syscalls', done.stderr, re.M)
    return int(found[1]) if found and done.returncode == 0 else None


def by_strace(command, pin=None):
    with tempfile.NamedTemporaryFile('r') as out:
        done = run(['strace', '-f', '-c', '-o', out.name, *command], preexec_fn=pin)
        found = re.search(r'^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total', out.read(), re.M)
    return int(found[1]) if found and done.returncode == 0 else None


def by_callgrind(command):
    done = run(['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null', *command])
    found = re.search(r'Collected : (\d+)', done.stderr)
    return int(found[1]) if found and done.returncode == 0 else None


def by_memcheck(command):
    done = run(['valgrind', '--undef-value-errors=no', *command])
    found = re.search(r'total heap usage: ([\d,]+) allocs', done.stderr)
    return int(found[1].replace(',', '')) if found and done.returncode == 0 else None


def per_call(once, twice, n):
    return None if once is None or twice is None else (twice - once) / n


class Counter:
    def __init__(self, track):
        self.track = track
        self.tool = 'perf' if perf_may() else 'strace' if shutil.which('strace') else None

    def command(self, what):
        client, case, threads, servers = what
        self.track.place({'servers': servers, 'transport': 'tcp', 'placement': 'same'})
        if case in DOWN:
            self.track.names = NOWHERE
        return self.track.command(client, case, threads)

    def system_calls(self, what):
        """Pinned to one processor as the servers are: how many calls share one depends on it."""
        command, count = self.command(what), by_perf if self.tool == 'perf' else by_strace
        n = (640 if is_multi(what) else 6400)  # each thread has the same share
        cpus = self.track.cpus
        once, twice = (count([*command, '--calls', str(times * n)], lambda: os.sched_setaffinity(0, cpus))
                       for times in (1, 2))
        return per_call(once, twice, n)

    def nanoseconds(self, what):
        """Of the processor: a call that waits for nothing can be counted so, without a clock at each."""
        def took(client):
            done = run([*self.command((client, *what[1:])), '--calls', str(DOWN[what[1]])])
            return json.loads(done.stdout)['client_cpu_us'] * 1000
        return round(statistics.median(took(what[0]) - took('loop') for _ in range(5)), 1)


def is_multi(what):
    return 'multi' in what[1]


# ---- What valgrind counts: slow, but as many at once as there are processors --------------------------------

CALLS = {'instructions': 8000, 'allocations': 400}


def valgrind_jobs(counter, whats):
    """(what, figure, command, N) for each; the empty loop's, too."""
    loops = {('loop', what[1], 1, 1) for what in whats if what[1] not in DOWN}
    for what in [*whats, *sorted(loops)]:
        command = counter.command(what)
        for figure, n in CALLS.items():
            if what[1] in DOWN or figure == 'allocations' and (what[0] == 'loop' or what[3] > 1):
                continue
            yield what, figure, command, n // 40 if is_multi(what) else n


def valgrind(counter, whats):
    """{(what, figure): a call's}"""
    if not shutil.which('valgrind'):
        return {}
    tools = {'instructions': by_callgrind, 'allocations': by_memcheck}

    def one(job):
        what, figure, command, n = job
        once, twice = (tools[figure]([*command, '--calls', str(times * n)]) for times in (1, 2))
        return (what, figure), per_call(once, twice, n)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(one, list(valgrind_jobs(counter, whats))))


def instructions(counted, what):
    own, loop = counted.get((what, 'instructions')), counted.get((('loop', what[1], 1, 1), 'instructions'), 0)
    return None if own is None or loop is None else own - loop


def words(counted):
    parts = [f'{counted[name]:.2f} {name.replace("_", " ")}' for name in ('system_calls', 'instructions', 'allocations')
             if counted.get(name) is not None]
    if 'ns' in counted:
        parts.append(f"{counted['ns']} ns")
    return ', '.join(parts)


def all_counts(track, quick, case, say):
    """case: only what is counted of one whose server is down."""
    counter, result = Counter(track), []
    whats = [what for what in FULL if what[1] == case] if case else QUICK + SHARED[1:2] if quick else FULL + SHARED
    say('system calls, instructions and allocations are being counted')
    counted = valgrind(counter, [what for what in whats if what[2] == 1])
    for what in whats:
        one = {'client': what[0], 'case': what[1], 'threads': what[2], 'servers': what[3], 'tool': counter.tool,
               'system_calls': counter.system_calls(what) if counter.tool else None,
               'instructions': instructions(counted, what), 'allocations': counted.get((what, 'allocations'))}
        if what[1] in DOWN:
            one['ns'] = counter.nanoseconds(what)
        result.append(one)
        say(f'    {what[0]}, {what[1]}, {what[2]} threads, {what[3]} servers: {words(one)}')
    return result
