#!/usr/bin/env python3
"""report.py - doc/PERFORMANCE.md out of a run's figures.

    report.py FIGURES.json >PERFORMANCE.md

Knows the targets, and nothing of how anything was measured.
"""
import json
import sys


def plural(n, word):
    return f'{n} {word}' if n == 1 else f'{n} {word}s'


def name_of(r):
    words = [r['case'], plural(r['threads'], 'thread'), r['placement']]
    if r['servers'] > 1:
        words.append(plural(r['servers'], 'server'))
    if r['transport'] != 'tcp':
        words.append('Unix socket')
    if r['base']['client'] != 'floor':
        words.append(f"against {r['base']['client']}'s {r['base']['case']}")
    return ', '.join(words)


# ---- Finding a figure --------------------------------------------------------------------------

def result(figures, client, case, threads=1, servers=1, placement='same', base='floor'):
    for r in figures['rows']:
        if (r['case'], r['threads'], r['servers'], r['placement'], r['transport'], r['base']['client']) == \
                (case, threads, servers, placement, 'tcp', base):
            return r['results'].get(client)
    return None


def ratio(figures, name, case, **where):
    """The ratio to the floor: median, lowest, highest."""
    found = result(figures, 'mend', case, **where)
    return found and found.get(name + '_ratio')


def by_cpu(figures, case, client='mend', **where):
    """Throughput by the CPU time of client and server together: what other programs take is not in it. Only where both
    are pinned to one processor is it the same thing."""
    found = result(figures, client, case, **where)
    return 1 / found['cpu_us_ratio']['median'] if found and 'cpu_us_ratio' in found else None


def count(figures, name, case, threads=1, servers=1, client='mend'):
    for c in figures['counts']:
        if (c['client'], c['case'], c['threads'], c['servers']) == (client, case, threads, servers):
            return c.get(name)
    return None


# ---- The targets -----------------------------------------------------------------------------------

class Target:
    def __init__(self, what, limit, measured, least=False, unit='', margin=0.005, by_cpu=None):
        """measured: a number, a spread (median, low, high), or None if it was not. least: the limit is a lower one.
        margin: two decimals are told, and what is told as the target has reached it. by_cpu: a throughput by CPU time."""
        self.what, self.limit, self.measured, self.least = what, limit, measured, least
        self.unit, self.margin, self.by_cpu = unit, margin, by_cpu

    def value(self):
        return self.measured['median'] if isinstance(self.measured, dict) else self.measured

    def verdict(self):
        if self.measured is None:
            return 'not measured'
        reached = self.value() >= self.limit - self.margin if self.least else self.value() <= self.limit + self.margin
        return 'reached' if reached else 'missed'

    def cells(self):
        limit = f"{'≥' if self.least else '≤'} {self.limit}{self.unit}"
        told = '-' if self.measured is None else number(self.value()) + self.unit
        spread = ''
        if isinstance(self.measured, dict):
            spread = f"{number(self.measured['low'])} to {number(self.measured['high'])}"
        return [self.what, limit, told, spread, '' if self.by_cpu is None else number(self.by_cpu), self.verdict()]


def number(x):
    return f'{x:,.0f}' if abs(x) >= 100 else f'{x:.2f}' if abs(x) >= 0.005 else '0'


STRAY = 0.05  # what the healer's rounds add to a count


def single_targets(f):
    for case, word in (('get_hit', 'get'), ('set_100', 'set 100 B')):
        yield Target(f'{word}, 1 thread: p50', 1.05, ratio(f, 'p50_us', case))
        yield Target(f'{word}, 1 thread: throughput', 0.95, ratio(f, 'per_s', case), least=True, by_cpu=by_cpu(f, case))
    for case, word, limit in (('get_hit', 'get', 900), ('set_100', 'set', 800)):
        yield Target(f'{word}: system calls', 2, count(f, 'system_calls', case), margin=STRAY)
        yield Target(f'{word}: allocations', 0, count(f, 'allocations', case), margin=STRAY)
        yield Target(f'{word}: user instructions', limit, count(f, 'instructions', case))
    one, three = count(f, 'instructions', 'get_hit'), count(f, 'instructions', 'get_hit', servers=3)
    yield Target('get: user instructions more for ketama', 400, None if one is None or three is None else three - one)


# Throughput of a shared client, by placement and threads.
SHARED_LEAST = {'same': {4: 1.7, 8: 2.8, 16: 3.5, 32: 4, 64: 4}, 'free': {4: 1.2, 8: 1.7, 16: 2.3, 32: 3, 64: 3}}


def shared_targets(f):
    for placement in ('same', 'free'):
        for threads, limit in SHARED_LEAST[placement].items():
            where = {'threads': threads, 'placement': placement}
            yield Target(f'get, {threads} threads share, {placement}: throughput', limit,
                         ratio(f, 'per_s', 'get_hit', **where), least=True,
                         by_cpu=by_cpu(f, 'get_hit', **where) if placement == 'same' else None)
            yield Target(f'get, {threads} threads share, {placement}: p99', 1,
                         ratio(f, 'p99_us', 'get_hit', **where))
    for threads in (16, 64):
        found = result(f, 'mend', 'get_hit', threads)
        yield Target(f'get, {threads} threads share: connections', 4, found and found['connections'])
    yield Target('get, 16 threads share: system calls a call', 0.99, count(f, 'system_calls', 'get_hit', 16))


def multi_targets(f):
    instructions = count(f, 'instructions', 'get_multi_100')
    yield Target('get_multi 100 keys, 1 server: p50', 1.15, ratio(f, 'p50_us', 'get_multi_100'))
    yield Target('get_multi 100 keys, 1 server: system calls', 2,
                 count(f, 'system_calls', 'get_multi_100'), margin=STRAY)
    yield Target('get_multi 100 keys, 1 server: instructions a key', 500, instructions and instructions / 100)
    yield Target('get_multi 100 keys, 4 servers: p50', 1.10, ratio(f, 'p50_us', 'get_multi_100', servers=4))
    yield Target('get_multi 100 keys, 4 servers: system calls', 8,
                 count(f, 'system_calls', 'get_multi_100', servers=4), margin=STRAY)
    yield Target('get 1 MB: p50', 1.12, ratio(f, 'p50_us', 'get_1m'))
    yield Target('set 1 MB: p50', 1.08, ratio(f, 'p50_us', 'set_1m'))
    for case, word in (('set_multi_100', 'set_multi'), ('delete_multi_100', 'delete_multi')):
        of = ratio(f, 'per_s', case, base='mend')
        yield Target(f'{word} of 100: items a second against single calls', 10,
                     of and {name: 100 * x for name, x in of.items()}, least=True)
    yield Target('a read while its server is down', 100, count(f, 'ns', 'get_down'), unit=' ns')
    yield Target('a read while its server is down: system calls', 0, count(f, 'system_calls', 'get_down'), margin=STRAY)
    for case, word in (('set_down', 'first of its key'), ('set_down_again', 'not the first of its key')):
        yield Target(f'a write while its server is down, {word}', 1000, count(f, 'ns', case), unit=' ns')
        yield Target(f'a write while its server is down, {word}: system calls', 0, count(f, 'system_calls', case), margin=STRAY)


def targets(figures):
    return [*single_targets(figures), *shared_targets(figures), *multi_targets(figures)]


HEAD = ['what, against the floor', 'target', 'measured', 'lowest to highest', 'by CPU', 'verdict']


def targets_text(figures):
    """For a terminal."""
    lines = [HEAD] + [t.cells() for t in targets(figures) if t.measured is not None]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return '\n'.join(' | '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


# ---- The page ------------------------------------------------------------------------------------------

def table(head, lines, left=1):
    """Markdown; the first columns are words, the others numbers."""
    rule = ['---'] * left + ['--:'] * (len(head) - left)
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [head, rule, *lines]) + '\n'


def spread(x):
    return f"{number(x['median'])} ({number(x['low'])} to {number(x['high'])})" if x else '-'


def optional(x):
    return '-' if x is None else number(x)


def median_of(x, name):
    return number(x[name + '_ratio']['median']) if name + '_ratio' in x else '-'


def is_control(r, client):
    return client == r['base']['client'] and r['case'] == r['base']['case']


def intro(f):
    m = f['machine']
    pace = f"{plural(f['rounds'], 'round')} of {f['seconds']:g} s a run" + (', quick' if f['quick'] else '')
    return f"""# Performance

Made by `./dev bench --write` from what it measured, not by hand: {f['when']}, {pace}, {f['took_s']} s in all.

- Machine: {m['cpu']}, {plural(m['processors'], 'processor')}, {m['kernel']}; {m['busy_before_percent']} % busy with other
  work when it began.
- Server: {m['memcached']} with `-t {m['server_threads']}` and items of up to 2 MB, otherwise as it comes.
- Clients: mend {m['mend']}, one client for all threads, as it comes; libmemcached {m['libmemcached']}, a handle per thread
  as it comes, the same tuned (TCP_NODELAY, NO_BLOCK), and its pool with a handle for each thread.
- The floor: a blocking socket per thread and server, one send and a recv until the answer is complete; nothing is
  parsed. floor-meta asks what mend asks, by the meta protocol. crowd is sharing at its barest.
- Each run stands between two of the floor, and is divided by their mean. A cell tells the median of those ratios, with
  the lowest and the highest.
- *same*: client and server pinned to one processor, which is the one to judge by. *free*: unpinned, and noisy.
- *by CPU*: throughput by the CPU time of client and server together. Pinned to one processor it is the same thing as
  throughput, without what other programs took from the wall clock's; where the two differ, the machine was busy, or the
  client left the processor idle.

![Throughput of one shared client against a socket per thread](speed.svg)
"""


def target_section(f):
    every = targets(f)
    reached = sum(t.verdict() == 'reached' for t in every)
    return f'## Targets\n\n{reached} of {len(every)} reached.\n\n' + table(HEAD, [t.cells() for t in every])


def bounds_section(f):
    """What stands between the targets that were missed and any client, measured beside them."""
    where = [(n, placement) for placement in ('same', 'free') for n in SHARED_LEAST[placement]]
    crowd = [(n, placement, by_cpu(f, 'get_hit', 'crowd', threads=n, placement=placement),
              by_cpu(f, 'get_hit', threads=n, placement=placement)) for n, placement in where]
    told = [f'{n} {placement}: {bare:.2f} (mend {ours:.2f})' for n, placement, bare, ours in crowd if bare and ours]
    lines = []
    if told:
        lines.append('- *Sharing.* `crowd` lets threads share a connection and does nothing else: they sleep with a deadline, but there is no check, and no key in the '
                     'answer. By CPU, against a socket per thread: ' + ', '.join(told) + '.')
    calls = count(f, 'system_calls', 'get_hit', 16, client='crowd')
    if calls:
        lines.append(f'- *System calls of 16 threads.* 15 sleep, one sends, receives and wakes: 18 for 16 calls, 1.13 each. `crowd` has {calls:.2f}.')
    floor, meta, crowd = (count(f, 'instructions', 'get_hit', client=client) for client in ('floor', 'floor-meta', 'crowd'))
    if floor and meta and crowd:
        lines.append(f'- *Instructions.* A get of the floor takes {floor:,.0f}, of floor-meta, which parses a length alone, {meta:,.0f}, and of '
                     f"`crowd`, with a share that has two locks and no answer's check, {crowd:,.0f}. Between those and mend's are the checks of the "
                     'key, the opaque and every flag of the answer, two looks at the clock, health, journal, gutter and a list of servers that may '
                     'change, and the reply; no part takes more than a tenth.')
    one, three, many = (count(f, 'instructions', case, servers=servers) for case, servers in (('get_hit', 1), ('get_hit', 3), ('get_multi_100', 4)))
    if one and three and many:
        lines.append('- *Ketama.* MD5 has 64 steps of 8 operations at least (RFC 1321: three of the function, four additions, a rotation): 512 for '
                     f'the shortest key, before the ring is searched. Of the {many:,.0f} instructions of a multi-get over 4 servers it is {100 * (three - one):,.0f}; '
                     'the floor knows which server has which key.')
    return '## What bounds them\n\n' + '\n'.join(lines) + '\n' if lines else ''


def noise_section(f):
    """What the floor makes of itself: no ratio nearer to 1 than this says anything."""
    controls = [(r, r['results'][c]) for r in f['rows'] for c in r['results'] if is_control(r, c)]
    if not controls:
        return ''
    names = ('per_s_ratio', 'cpu_us_ratio', 'p50_us_ratio', 'p99_us_ratio')
    lines = [[name_of(r), str(x['rounds']), *(spread(x.get(name)) for name in names)] for r, x in controls]
    return ('## The noise: the floor against the floor\n\n'
            'A client within this spread can not be told from a bare socket.\n\n' +
            table(['case', 'rounds', 'throughput', 'CPU a call', 'p50', 'p99'], lines))


def threads_section(f, case, placement):
    rows = [r for r in f['rows'] if (r['case'], r['placement'], r['servers'], r['transport'], r['base']['client']) ==
            (case, placement, 1, 'tcp', 'floor')]
    if len(rows) < 3:
        return ''
    names = [c for c in ('floor', 'mend', 'crowd', 'libmemcached-pool') if any(c in r['results'] for r in rows)]
    told = [('control' if c == 'floor' else c) for c in names]
    head = ['threads', 'floor, calls a second', *told, *(f'{name}, by CPU' for name in told),
            "mend's p99", "mend's connections"]
    lines = []
    for r in sorted(rows, key=lambda r: r['threads']):
        mend = r['results'].get('mend', {})
        lines.append([str(r['threads']), number(r['base'].get('per_s', 0))] +
                     [spread(r['results'].get(c, {}).get('per_s_ratio')) for c in names] +
                     [optional(by_cpu(f, case, c, threads=r['threads'], placement=placement)) for c in names] +
                     [spread(mend.get('p99_us_ratio')), f"{mend['connections']:g}" if mend else '-'])
    return f'## {case}, {placement}: one client shared by threads, throughput\n\n' + table(head, lines, left=0)


def measured(x, ratios):
    own = [number(x.get(name, 0)) for name in ('per_s', 'p50_us', 'p99_us', 'client_cpu_us', 'server_cpu_us')]
    return [*own[:3], *ratios, ' + '.join(own[3:])]


def cases_section(f):
    lines = []
    for r in f['rows']:
        lines.append([name_of(r), '*' + r['base']['client'] + '*', *measured(r['base'], ['1', '1', '1', '1'])])
        for client, x in r['results'].items():
            if not is_control(r, client):
                ratios = [median_of(x, 'per_s'), optional(1 / x['cpu_us_ratio']['median'] if 'cpu_us_ratio' in x else None),
                          median_of(x, 'p50_us'), median_of(x, 'p99_us')]
                lines.append(['', client + (f" ({x['failed']} failed)" if x['failed'] else ''), *measured(x, ratios)])
    return ('## Every case\n\nTimes in microseconds; the ratios are to the client in italics; CPU is the client\'s and the '
            'server\'s, a call.\n\n' +
            table(['case', 'client', 'calls/s', 'p50', 'p99', 'throughput', 'by CPU', 'p50', 'p99', 'CPU'], lines, left=2))


def counts_section(f):
    if not f['counts']:
        return ''
    lines = []
    for c in f['counts']:
        case = f"{c['case']}, {plural(c['threads'], 'thread')}, {plural(c['servers'], 'server')}"
        lines.append([case, c['client'], *(optional(c.get(name)) for name in ('system_calls', 'instructions', 'allocations'))])
    down = [count(f, 'ns', case) for case in ('get_down', 'set_down', 'set_down_again')]
    tail = (f'\nWhile its server is down, a read takes {number(down[0])} ns of the processor, a write {number(down[1])} ns, whose key the '
            f'journal has to keep, and {number(down[2])} ns where it has it.\n') if None not in down else ''
    return ("## What does not depend on the machine's mood\n\n"
            f"A call's, each as (2N - N) / N; system calls by {f['counts'][0]['tool']}, user instructions by callgrind (without the\n"
            "benchmark's own loop), allocations by memcheck. Several servers: with ketama.\n\n" +
            table(['case', 'client', 'system calls', 'instructions', 'allocations'], lines, left=2) + tail)


def memory_section(f):
    """A client's heap: opened, with its connections; the floor's own buffers show what belongs to the benchmark."""
    lines = []
    for threads in (1, 16, 64):
        for client in ('floor', 'mend', 'libmemcached-pool'):
            x = result(f, client, 'get_hit', threads)
            if x:
                lines.append([client, str(threads), f"{x['connections']:g}", number(x['heap_opened']), number(x['heap_used'])])
    if not lines:
        return ''
    return ('## Memory\n\nBytes of heap, one server: when the client is open, and when so many threads have called for a while, '
            'with their\nreplies and what the benchmark itself keeps for a thread, which is what the floor shows.\n\n' +
            table(['client', 'threads', 'connections', 'opened', 'used'], lines))


def page(f):
    sections = [intro(f), target_section(f), bounds_section(f), threads_section(f, 'get_hit', 'same'), threads_section(f, 'get_hit', 'free'),
                threads_section(f, 'set_100', 'same'), cases_section(f), counts_section(f), memory_section(f), noise_section(f)]
    return '\n'.join(section for section in sections if section)


if __name__ == '__main__':
    with open(sys.argv[1]) as file:
        print(page(json.load(file)), end='')
