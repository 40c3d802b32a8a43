#!/usr/bin/env python3
"""run.py - races mend against libmemcached and against bare sockets; ./dev bench runs it.

    run.py [--quick] [--case NAME] [--threads N] [--placement same|free] [--clients A,B] [--rounds N] [--seconds S]
           [--server-threads N] [--no-counts] [--write] [--build DIR] [--out FILE]

Each client's run stands between two of the floor (a socket per thread, see client_floor.c): A B A C A B A C A ... Its
figures are divided by the mean of its two neighbours', and what is told is the median of those ratios over all rounds,
with the lowest and the highest. The floor itself is one of the clients, too: that row is the noise.

Placement: same - client and server pinned to one processor, whichever is idlest: the one to judge by, since a wakeup
costs the same each time. There the floor's CPU time a call through the client's is throughput, too, and other programs hardly
disturb it: "by CPU". free - wherever the scheduler wants: noisy.

Progress goes to stderr, the figures to FILE (build/bench.json). report.py makes doc/PERFORMANCE.md of them, picture.py
doc/speed.svg: with --write here, or each by itself from a FILE. Without --write no file of the repository is touched.
"""
import argparse
import datetime
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing appears beside the sources

import counts
import picture
import report
from servers import Servers, program

ALL_THREADS = (1, 2, 4, 8, 16, 32, 64)
HANDLES = ('libmemcached', 'libmemcached-tuned')
POOL = 'libmemcached-pool'
QUICK_S = 30  # for all rows of --quick: on a busy machine rounds are left out, and what is counted has the rest of a minute


def say(*words):
    print(*words, file=sys.stderr, flush=True)


# ---- What is measured ---------------------------------------------------------------------------

def row(case, clients, threads=1, servers=1, placement='same', transport='tcp', base=('floor', None)):
    """One case, its contenders, and what they are compared with. 'floor' among the clients is the control."""
    return {'case': case, 'threads': threads, 'servers': servers, 'placement': placement, 'transport': transport,
            'base': {'client': base[0], 'case': base[1] or case}, 'clients': list(clients)}


def shared(case, threads, placement, others=()):
    return [row(case, ('floor', 'mend', *others), n, placement=placement) for n in threads]


def plan_full():
    rows = [row('get_hit', ('floor', 'floor-meta', 'mend', *HANDLES, POOL))]
    rows += shared('get_hit', ALL_THREADS[1:], 'same', ('crowd', POOL))
    rows += [row('set_100', ('floor', 'mend', *HANDLES))]
    rows += shared('set_100', ALL_THREADS[1:], 'same')
    rows += shared('get_hit', ALL_THREADS, 'free', ('crowd', POOL))
    rows += shared('set_100', (1, 16), 'free')
    for case in ('get_miss', 'set_4k'):
        rows += [row(case, ('floor', 'mend', 'libmemcached'), n) for n in (1, 16)]
    rows += [row(f'get_multi_{keys}', ('floor', 'mend', 'libmemcached'), 1, servers)
             for keys in (10, 100, 1000) for servers in (1, 4, 16)]
    rows += [row(case, ('floor', 'mend', 'libmemcached')) for case in ('get_1m', 'set_1m')]
    rows += [row('get_hit', ('floor', 'mend', 'libmemcached'), n, transport='unix') for n in (1, 16)]
    rows += plan_writes()
    rows += [row('open_close', ('floor', 'mend', 'libmemcached'))]
    return rows


def plan_writes():
    """Batches are compared with mend's own single calls, and with a bare pipeline."""
    return [row('set_multi_100', ('mend',), base=('mend', 'set_100')),
            row('delete_multi_100', ('mend',), base=('mend', 'delete')),
            row('set_multi_100', ('floor', 'mend')), row('delete_multi_100', ('floor', 'mend'))]


def plan_quick():
    """What the targets are about, and no more."""
    rows = [row('get_hit', ('floor', 'mend', 'libmemcached')), row('set_100', ('floor', 'mend'))]
    rows += [row('get_hit', ('mend', POOL), 16)] + [row('get_hit', ('mend',), n) for n in (4, 8, 32, 64)]
    rows += [row('get_hit', ('mend',), n, placement='free') for n in (4, 16, 64)]
    rows += [row('get_multi_100', ('mend',), 1, n) for n in (1, 4)]
    rows += [row(case, ('mend',)) for case in ('get_1m', 'set_1m')]
    return rows + plan_writes()[:2]


def chosen(rows, options):
    for r in rows:
        if options.clients:
            r['clients'] = options.clients.split(',')
        if (options.case in (None, r['case']) and options.threads in (None, r['threads'])
                and options.placement in (None, r['placement'])):
            yield r


def plan(options):
    rows = list(chosen(plan_quick() if options.quick else plan_full(), options))
    if not rows and options.case and options.case not in counts.DOWN:  # one that is in no plan
        rows = list(chosen([row(options.case, ('floor', 'mend', 'libmemcached'), options.threads or 1,
                                placement=options.placement or 'same')], options))
    return rows


# ---- One run --------------------------------------------------------------------------------------

def idlest():
    """The processor that others use least, over a tenth of a second."""
    def idle():
        with open('/proc/stat') as stat:
            lines = [line.split() for line in stat if line.startswith('cpu') and line[3].isdigit()]
        return {int(words[0][3:]): int(words[4]) for words in lines}
    before = idle()
    time.sleep(0.1)
    after = idle()
    return max(os.sched_getaffinity(0), key=lambda cpu: after[cpu] - before.get(cpu, 0))


class Track:
    """Servers, and the programs that run against them."""

    def __init__(self, options):
        self.options = options
        self.speed = os.path.join(options.build, 'bench', 'speed', 'bench-speed')
        self.servers = Servers(options.server_threads)
        self.cpus = os.sched_getaffinity(0)

    def place(self, r):
        servers = self.servers.take(r['servers'], r['transport'])
        self.cpus = {idlest()} if r['placement'] == 'same' else os.sched_getaffinity(0)
        for server in servers:
            server.pin(self.cpus)
        self.names = ','.join(server.name for server in servers)
        self.pids = ','.join(str(server.process.pid) for server in servers)

    def command(self, client, case, threads, *more):
        return [self.speed, client, case, self.names, '--threads', str(threads), *more]

    def go(self, client, case, threads):
        done = subprocess.run(
            self.command(client, case, threads, '--seconds', str(self.options.seconds), '--pids', self.pids),
            preexec_fn=lambda: os.sched_setaffinity(0, self.cpus), stdout=subprocess.PIPE, timeout=60)
        if done.returncode != 0:
            return None
        figures = json.loads(done.stdout)
        figures['cpu_us'] = figures['client_cpu_us'] + figures['server_cpu_us']
        return figures


# ---- A row: rounds, ratios, medians ------------------------------------------------------------------

TOLD = ('connections', 'heap_opened', 'heap_used')
RATIOS = ('per_s', 'p50_us', 'p99_us', 'cpu_us', 'client_cpu_us', 'server_cpu_us')


def middle(values):
    values = sorted(values)
    return {'median': round(statistics.median(values), 4), 'low': round(values[0], 4), 'high': round(values[-1], 4)}


def summary(runs):
    """Of one client: the medians of what was measured, and of its ratios to its neighbours."""
    figures = {name: statistics.median(own[name] for own, _, _ in runs) for name in RATIOS + TOLD}
    figures['failed'] = sum(own['failed'] for own, _, _ in runs)
    figures['rounds'] = len(runs)
    for name in RATIOS:
        ratios = [2 * own[name] / (before[name] + after[name]) for own, before, after in runs if before[name] + after[name] > 0]
        if ratios and statistics.median(ratios) > 0:
            figures[name + '_ratio'] = middle(ratios)
    return figures


def race(track, r, until=math.inf):
    """So many rounds; but after the first none begins later than that."""
    def base():
        return track.go(r['base']['client'], r['base']['case'], r['threads'])

    runs = {client: [] for client in r['clients']}
    track.place(r)
    before = base()
    for i in range(track.options.rounds):
        if i > 0 and time.monotonic() > until:
            break
        for client in r['clients']:
            own, after = track.go(client, r['case'], r['threads']), base()
            if own and before and after:
                runs[client].append((own, before, after))
            before = after
    r['results'] = {client: summary(of) for client, of in runs.items() if of}
    bases = [before for of in runs.values() for _, before, _ in of]
    if bases:
        r['base'].update({name: statistics.median(b[name] for b in bases) for name in RATIOS + TOLD})
    return r


def tell(r):
    def ratio(client):
        x = r['results'][client]['per_s_ratio']
        name = 'control' if client == r['base']['client'] and r['case'] == r['base']['case'] else client
        by_cpu, failed = r['results'][client].get('cpu_us_ratio'), r['results'][client]['failed']
        words = f"{name} {x['median']:.2f} ({x['low']:.2f}-{x['high']:.2f})"
        if by_cpu and r['placement'] == 'same':
            words += f" by CPU {1 / by_cpu['median']:.2f}"
        return words + (f' {failed} CALLS FAILED' if failed else '')
    return ', '.join(ratio(client) for client in r['results']) or 'nothing could be measured'


# ---- All of it -----------------------------------------------------------------------------------------

def first_line(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return 'unknown'


def cpu_model():
    with open('/proc/cpuinfo') as info:
        models = [line.split(':', 1)[1].strip() for line in info if line.startswith('model name')]
    return models[0] if models else platform.machine()


def busy_percent():
    def times():
        with open('/proc/stat') as stat:
            words = [int(word) for word in stat.readline().split()[1:9]]
        return sum(words), words[3] + words[4]
    (all_before, idle_before), _ = times(), time.sleep(0.5)
    all_after, idle_after = times()
    return round(100 - 100 * (idle_after - idle_before) / max(1, all_after - all_before))


def machine(options):
    return {'cpu': cpu_model(), 'processors': os.cpu_count(), 'kernel': f'{platform.system()} {platform.release()}',
            'memcached': first_line(program(), '-V'), 'server_threads': options.server_threads,
            'libmemcached': first_line('pkg-config', '--modversion', 'libmemcached'), 'busy_before_percent': busy_percent(),
            'mend': first_line('git', 'describe', '--always', '--dirty')}


def read_options():
    p = argparse.ArgumentParser(prog='./dev bench', description='mend, libmemcached and bare sockets, in one race')
    p.add_argument('--quick', action='store_true', help='the rows of the targets only, in less than a minute')
    p.add_argument('--case', help='this case only; bench-speed --list names them')
    p.add_argument('--threads', type=int, help='rows with so many threads only')
    p.add_argument('--placement', choices=('same', 'free'))
    p.add_argument('--clients', help='these in place of the plan\'s, separated by commas')
    p.add_argument('--rounds', type=int)
    p.add_argument('--seconds', type=float, help='of each run')
    p.add_argument('--server-threads', type=int, default=1, help='memcached -t: 1')
    p.add_argument('--no-counts', action='store_true', help='leave out what perf, strace and valgrind count')
    p.add_argument('--write', action='store_true', help='make doc/PERFORMANCE.md and doc/speed.svg anew')
    p.add_argument('--build', default='build/release')
    p.add_argument('--out', default='build/bench.json')
    options = p.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.12 if options.quick else 0.2)
    if options.write and (options.case or options.threads or options.placement or options.clients or options.no_counts):
        p.error('--write is for a whole run')
    return options


def write_pages(figures):
    here = os.path.dirname(os.path.abspath(__file__))
    doc = os.path.normpath(os.path.join(here, '..', '..', 'doc'))
    with open(os.path.join(doc, 'PERFORMANCE.md'), 'w') as file:
        file.write(report.page(figures))
    with open(os.path.join(doc, 'speed.svg'), 'w') as file:
        file.write('\n'.join(picture.picture(figures)) + '\n')
    say('doc/PERFORMANCE.md and doc/speed.svg are made anew')


def main():
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    figures = {'when': datetime.datetime.now(datetime.timezone.utc).strftime('%FT%TZ'), 'quick': options.quick,
               'rounds': options.rounds, 'seconds': options.seconds, 'machine': machine(options), 'rows': [], 'counts': []}
    busy = figures['machine']['busy_before_percent']
    if busy > 20:
        say(f'this machine is busy with something else ({busy} %): look at the spread')
    rows = plan(options)
    track = Track(options)
    try:
        for i, r in enumerate(rows, 1):
            name = report.name_of(r)
            until = began + QUICK_S * i / len(rows) if options.quick else math.inf
            say(f'[{i:2}/{len(rows)}] {name}: {tell(race(track, r, until))}')
            figures['rows'].append(r)
        if not options.no_counts and (not options.case or options.case in counts.DOWN):
            figures['counts'] = counts.all_counts(track, options.quick, options.case, say)
    finally:
        track.servers.stop()
    figures['took_s'] = round(time.monotonic() - began)
    with open(options.out, 'w') as out:
        json.dump(figures, out, indent=1)
        out.write('\n')
    print(report.targets_text(figures))
    if options.write:
        write_pages(figures)
    say(f"{options.out} has it all; it took {figures['took_s']} s")


if __name__ == '__main__':
    main()
