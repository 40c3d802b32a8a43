#!/usr/bin/env python3
"""test_exporter.py EXPORTER DASHBOARD - the exporter's page is Prometheus' text, and the dashboard asks for what is in it: TAP.

The page is read by the grammar of the format, and by promtool where that is installed.
"""
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request

EXPORTER, DASHBOARD = sys.argv[1:3]
PATIENCE_S = 30

# What a path of a Unix socket may have, and a label must not have as it is. Nobody listens there.
HOSTILE = 'unix:/nonexistent/"a\\n{b}#'

NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf'({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?)')
SUFFIXES = {'counter': ('_total',), 'gauge': ('',), 'histogram': ('_bucket', '_sum', '_count')}


class Exporter:
    def __init__(self, servers):
        self.process = subprocess.Popen([EXPORTER, servers, '0'], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0
        self.process.stdout.close()

    def page(self):
        with urllib.request.urlopen(self.url, timeout=PATIENCE_S) as answer:
            assert answer.headers['Content-Type'].startswith('text/plain; version=0.0.4'), answer.headers
            return answer.read().decode()


class Memcached:
    def __enter__(self):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        self.name = f'127.0.0.1:{port}'
        self.process = subprocess.Popen(['memcached', '-u', 'nobody', '-l', '127.0.0.1', '-p', str(port), '-m', '8', '-t', '1'])
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def parse(page):
    """{family: type}, [(name, {label: value}, number)]; each line must be one of the grammar's."""
    families, helped, samples, current, closed = {}, set(), [], None, set()
    assert page.endswith('\n')
    for line in page[:-1].split('\n'):
        if match := re.fullmatch(rf'# HELP ({NAME}) ([^\\\n]+)', line):
            assert match[1] not in helped, line
            helped.add(match[1])
        elif match := re.fullmatch(rf'# TYPE ({NAME}) (counter|gauge|histogram)', line):
            assert match[1] in helped and match[1] not in families, line
            if current:
                closed.add(current)
            current = match[1]
            families[current] = match[2]
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f'not a sample: {line}'
            assert current not in closed and match[1].startswith(current), f'not among its own: {line}'
            assert match[1] in [current.removesuffix('_total') + s if families[current] == 'counter' else current + s for s in SUFFIXES[families[current]]], line
            labels = dict(re.findall(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"', match[2] or ''))
            samples.append((match[1], {k: re.sub(r'\\(.)', lambda m: '\n' if m[1] == 'n' else m[1], v) for k, v in labels.items()}, float(match[3])))
    keys = [(name, tuple(sorted(labels.items()))) for name, labels, _ in samples]
    assert len(set(keys)) == len(keys), 'a series is there twice'
    return families, samples


def check_histograms(families, samples):
    for family in (f for f, kind in families.items() if kind == 'histogram'):
        for server in {labels['server'] for name, labels, _ in samples if name.startswith(family)}:
            buckets = [(float(labels['le']), n) for name, labels, n in samples if name == family + '_bucket' and labels['server'] == server]
            count = [n for name, labels, n in samples if name == family + '_count' and labels['server'] == server]
            assert buckets == sorted(buckets) and [n for _, n in buckets] == sorted(n for _, n in buckets), buckets
            assert buckets[-1][0] == float('inf') and [buckets[-1][1]] == count, (buckets, count)


def await_page(exporter, fact):
    until = time.monotonic() + PATIENCE_S
    while True:
        page = exporter.page()
        families, samples = parse(page)
        if fact(samples):
            return page, families, samples
        assert time.monotonic() < until, page


def test_the_page_is_of_the_grammar():
    with Memcached() as m, Exporter(f'{m.name},{HOSTILE}') as exporter:
        def served(samples):
            pings = sum(n for name, labels, n in samples if name == 'mend_calls_total' and labels['server'] == m.name and labels['outcome'] in ('done', 'miss'))
            downs = [n for name, labels, n in samples if name == 'mend_server_up' and labels['server'] == HOSTILE]
            assert len(downs) == 1, 'the hostile name is not there as it is'
            return pings > 0 and downs == [0]
        _, families, samples = await_page(exporter, served)
        check_histograms(families, samples)
        for name, kind in families.items():
            assert name.startswith('mend_') and (kind == 'counter') == name.endswith('_total'), name


def test_promtool_has_nothing_to_say():
    if not shutil.which('promtool'):
        return 'promtool (prometheus) is not installed'
    with Memcached() as m, Exporter(f'{m.name},{HOSTILE}') as exporter:
        said = subprocess.run(['promtool', 'check', 'metrics'], input=exporter.page(), text=True, capture_output=True, timeout=PATIENCE_S)
        assert said.returncode == 0 and not said.stderr and not said.stdout, said


def test_other_paths_are_not_found():
    with Exporter('127.0.0.1:1') as exporter:
        try:
            urllib.request.urlopen(exporter.url + 's', timeout=PATIENCE_S)
        except urllib.error.HTTPError as e:
            assert e.code == 404, e
        else:
            raise AssertionError('found')


def test_the_dashboard_asks_for_what_there_is():
    with open(DASHBOARD, encoding='utf-8') as f:
        dashboard = json.load(f)
    with Exporter('127.0.0.1:1') as exporter:
        families, samples = parse(exporter.page())
    known = set(families) | {name for name, _, _ in samples}
    asked = [target['expr'] for panel in dashboard['panels'] for target in panel.get('targets', [])]
    asked += [v['definition'] for v in dashboard['templating']['list'] if v['type'] == 'query']
    used = set(re.findall(r'\bmend_\w+', ' '.join(asked)))
    assert used and used <= known, used - known
    for family in families: # what is counted is shown
        assert any(name.startswith(family) for name in used) or family in ('mend_build_info', 'mend_server_gutter'), f'{family} is on no panel'
    for expr in asked:
        assert not re.search(r'rate\((?!mend_\w+(_total|_bucket|_sum|_count)\b)', expr), f'a rate of what is no counter: {expr}'
    for panel in dashboard['panels']:
        for target in panel.get('targets', []): # of a fleet: a line for each server, not for each process, and of the processes that were chosen
            assert ' by (' in target['expr'] and 'instance=~"$instance"' in target['expr'], target
            for name in re.findall(r'\{\{(\w+)\}\}', target['legendFormat']):
                assert re.search(rf' by \([^)]*\b{name}\b', target['expr']), f'a legend of what the query does not give: {target}'
    ids = [panel['id'] for panel in dashboard['panels']]
    assert len(set(ids)) == len(ids)


def main():
    tests = [(name[5:].replace('_', ' '), f) for name, f in globals().items() if name.startswith('test_')]
    failed = False
    print(f'1..{len(tests)}')
    for number, (name, test) in enumerate(tests, 1):
        try:
            skipped = test()
            print(f'not ok {number} # SKIP {name}: {skipped}' if skipped else f'ok {number} - {name}', flush=True)
        except Exception:
            failed = True
            print(f'not ok {number} - {name}', flush=True)
            traceback.print_exc(file=sys.stdout)
    sys.exit(failed)


main()
