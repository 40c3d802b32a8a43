#!/usr/bin/env python3
"""table.py - the table of ./dev outage, in Markdown.

    outage/table.py build/outage.json              prints it
    outage/table.py build/outage.json README.md    writes it between that file's two marks instead

Nothing is measured or judged here: what the JSON has is put into words.
"""
import json
import re
import sys

BEGIN, END = '<!-- outage -->', '<!-- /outage -->'


def time(ms):
    if ms is None:
        return 'never'
    if ms < 1:
        return '< 1 ms'
    return '%.3g ms' % ms if ms < 999.5 else '%.1f s' % (ms / 1000)


def percent(part, whole):
    return '%.0f %%' % (100 * part / whole) if whole else '-'


COLUMNS = (
    ('client', lambda c: c['name'] if c['complete'] else c['name'] + ' (did not end well)'),
    ('calls/s', lambda c: '%d' % c['calls_a_second']),
    ('p50', lambda c: time(c['p50_ms'])),
    ('p99', lambda c: time(c['p99_ms'])),
    ('slowest', lambda c: time(c['slowest_ms'])),
    ('in calls', lambda c: percent(c['waited_s'] * 1000, c['outage_ms'])),
    ('noticed', lambda c: time(c['detect_ms'])),
    ('back', lambda c: time(c['back_first_ms'])),
    ('all back', lambda c: time(c['back_all_ms'])),
    ('failed then', lambda c: '%d' % c['relapses']),
    ('other keys', lambda c: '%d failed' % c['others']['failed'] if c['others']['calls'] else '-'),
    ('wrong', lambda c: '%d' % c['wrong']),
    ('stale', lambda c: '%d' % c['stale']),
    ('outdated', lambda c: '%d' % c['outdated']),
)


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows = rows[:1] + [['-' * width for width in widths]] + rows[1:]
    return '\n'.join('| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |' for row in rows)


def table(run):
    rows = [['fault'] + [name for name, _ in COLUMNS]]
    for fault in run['faults']:
        for i, client in enumerate(fault['clients']):
            rows.append([fault['title'] if i == 0 else ''] + [words(client) for _, words in COLUMNS])
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
text = table(json.load(open(sys.argv[1], encoding='utf-8')))
if len(sys.argv) == 3:
    write(sys.argv[2], text)
else:
    print(text)
