#!/usr/bin/env python3
"""table.py - the table of ./dev outage, in Markdown.

    outage/table.py build/outage.json              prints it
    outage/table.py build/outage.json README.md    writes it between that file's two marks instead, with links to pictures

Nothing is measured or judged here: what the JSON has is put into words.
"""
import json
import re
import sys

BEGIN, END = '<!-- outage -->', '<!-- /outage -->'


def number(ms):
    return '%.2f' % ms if ms < 1 else '%.1f' % ms if ms < 100 else '%.0f' % ms


def time(ms):
    return 'never' if ms is None else number(ms) + ' ms'


def from_to(first_ms, last_ms):
    return number(first_ms) + ' to ' + time(last_ms) if first_ms is not None else 'never'


def percent(part, whole):
    return '%.0f %%' % (100 * part / whole) if whole else '-'


def failed(client):
    return percent(client['failed'], client['sick']['calls'] + client['others']['calls'])


COLUMNS = (
    ('client', lambda c: c['name'] if c['complete'] else c['name'] + ' (did not end well)'),
    ('calls/s', lambda c: '%d' % c['calls_a_second']),
    ('p50, p99, slowest call', lambda c: ', '.join(number(c[name]) for name in ('p50_ms', 'p99_ms', 'slowest_ms')) + ' ms'),
    ('in calls', lambda c: '%.2f s' % c['waited_s']),
    ('failed', failed),
    ('noticed', lambda c: time(c['detect_ms'])),
    ('back', lambda c: from_to(c['back_first_ms'], c['back_all_ms'])),
    ('failed then', lambda c: '%d' % c['relapses']),
    ('failed, other keys', lambda c: '%d' % c['others']['failed'] if c['others']['calls'] else '-'),
    ('wrong', lambda c: '%d' % c['wrong']),
    ('stale', lambda c: '%d' % c['stale']),
    ('outdated', lambda c: '%d' % c['outdated']),
    ('machine late', lambda c: time(c['machine_late_ms'])),
)


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows = rows[:1] + [['-' * width for width in widths]] + rows[1:]
    return '\n'.join('| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |' for row in rows)


def table(run, linked):
    rows = [['fault'] + [name for name, _ in COLUMNS]]
    for fault in run['faults']:
        for i, client in enumerate(fault['clients']):
            title = '[%s](doc/outage-%s.svg)' % (fault['title'], fault['id']) if linked else fault['title']
            rows.append([title if i == 0 else ''] + [words(client) for _, words in COLUMNS])
    return aligned(rows)


def write(path, text):
    page = open(path, encoding='utf-8').read()
    marked = re.compile(re.escape(BEGIN) + '.*?' + re.escape(END), re.S)
    if len(marked.findall(page)) != 1:
        sys.exit('table.py: %s must have %s and %s, once' % (path, BEGIN, END))
    page = marked.sub(lambda _: '%s\n%s\n%s' % (BEGIN, text, END), page)
    open(path, 'w', encoding='utf-8').write(page)


if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
run = json.load(open(sys.argv[1], encoding='utf-8'))
if len(sys.argv) == 3:
    write(sys.argv[2], table(run, linked=True))
else:
    print(table(run, linked=False))
