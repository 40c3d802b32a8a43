#!/usr/bin/env python3
"""picture.py - a picture of throughput against the number of threads, relative to a bare socket per thread.

    picture.py FIGURES.json >speed.svg

Two panels, same and free; a line for each client, a band from its lowest to its highest ratio, a ring for each target.
Legible on light and on dark paper, at 800 pixels.
"""
import json
import math
import sys

import report

WIDTH, HEIGHT = 800, 420
TOP, BOTTOM = 74, 352
PANELS = {'same': (54, 400), 'free': (444, 790)}
THREADS = (1, 2, 4, 8, 16, 32, 64)
CLIENTS = {'mend': 'mend, one client for all threads', 'libmemcached-pool': "libmemcached's pool",
           'floor': 'the floor against itself: the noise'}
TITLE = 'Gets a second, threads sharing one client, against a bare socket per thread'
CSS = """
.paper { fill: #ffffff }
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 } .small { font-size: 12px; fill: #57606a }
.axis { stroke: #d0d7de } .one { stroke: #57606a; stroke-dasharray: 5 4 }
.line { stroke-width: 2.5 } .band { opacity: 0.16; stroke: none } 
.ring { fill: none; stroke: #bc4c00; stroke-width: 1.8 }
.mend { stroke: #1a7f37; fill: #1a7f37 }
.libmemcached-pool { stroke: #8250df; fill: #8250df }
.floor { stroke: #6e7781; fill: #6e7781 }
.line { fill: none !important }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9da7b1 }
  .axis { stroke: #3d444d } .one { stroke: #9da7b1 } .ring { stroke: #f0883e }
  .mend { stroke: #3fb950; fill: #3fb950 }
  .libmemcached-pool { stroke: #bc8cff; fill: #bc8cff }
  .floor { stroke: #848d97; fill: #848d97 }
  .band { opacity: 0.22 }
}
"""


def ratios(figures, client, placement):
    """[(threads, median, low, high)]"""
    found = ((n, report.result(figures, client, 'get_hit', n, placement=placement)) for n in THREADS)
    return [(n, *(x['per_s_ratio'][of] for of in ('median', 'low', 'high'))) for n, x in found if x]


def ceiling(figures):
    highest = [point[1] for client in CLIENTS for placement in PANELS for point in ratios(figures, client, placement)]
    wanted = [limit for limits in report.SHARED_LEAST.values() for limit in limits.values()]
    return math.ceil(max(highest + wanted + [1]) + 0.3)


class Panel:
    def __init__(self, placement, top):
        self.placement, self.top = placement, top
        self.left, self.right = PANELS[placement]

    def x(self, threads):
        return self.left + (self.right - self.left - 14) * math.log2(threads) / math.log2(THREADS[-1]) + 7

    def y(self, ratio):
        return BOTTOM - (BOTTOM - TOP) * min(ratio, self.top) / self.top

    def points(self, pairs):
        return ' '.join(f'{self.x(n):.1f},{self.y(ratio):.1f}' for n, ratio in pairs)

    def frame(self):
        words = 'same: client and server on one processor' if self.placement == 'same' else 'free: unpinned, and noisy'
        yield f'<text x="{self.left}" y="{TOP - 12}">{words}</text>'
        for ratio in range(self.top + 1):
            css = 'one' if ratio == 1 else 'axis'
            y = round(self.y(ratio), 1)
            yield f'<line class="{css}" x1="{self.left}" x2="{self.right}" y1="{y}" y2="{y}"/>'
            yield f'<text class="small" x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{ratio}×</text>'
        for n in THREADS:
            yield f'<text class="small" x="{self.x(n):.1f}" y="{BOTTOM + 17}" text-anchor="middle">{n}</text>'

    def curve(self, client, points):
        if len(points) > 1:
            around = [(n, low) for n, _, low, _ in points] + [(n, high) for n, _, _, high in reversed(points)]
            yield f'<polygon class="band {client}" points="{self.points(around)}"/>'
        yield f'<polyline class="line {client}" points="{self.points([(n, median) for n, median, _, _ in points])}"/>'
        for n, median, _, _ in points:
            yield f'<circle class="{client}" cx="{self.x(n):.1f}" cy="{self.y(median):.1f}" r="2.5"/>'

    def targets(self):
        for n, least in report.SHARED_LEAST[self.placement].items():
            yield f'<circle class="ring" cx="{self.x(n):.1f}" cy="{self.y(least):.1f}" r="4.5"/>'


def legend():
    x = PANELS['same'][0]
    for client, words in CLIENTS.items():
        yield f'<line class="line {client}" x1="{x}" x2="{x + 22}" y1="{HEIGHT - 16}" y2="{HEIGHT - 16}"/>'
        yield f'<text class="small" x="{x + 28}" y="{HEIGHT - 12}">{words}</text>'
        x += 52 + round(6.1 * len(words))
    yield f'<circle class="ring" cx="{x + 4}" cy="{HEIGHT - 16}" r="4.5"/>'
    yield f'<text class="small" x="{x + 14}" y="{HEIGHT - 12}">target</text>'


def picture(figures):
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
           'role="img">')
    yield f'<title>{TITLE}</title><style>{CSS}</style>'
    yield f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>'  # a viewer that knows no dark may have dark paper
    yield f'<text class="title" x="{PANELS["same"][0]}" y="28">{TITLE}</text>'
    top = ceiling(figures)
    for placement in PANELS:
        panel = Panel(placement, top)
        yield from panel.frame()
        for client in reversed(CLIENTS):
            yield from panel.curve(client, ratios(figures, client, placement))
        yield from panel.targets()
        middle = (panel.left + panel.right) / 2
        yield f'<text class="small" x="{middle}" y="{BOTTOM + 35}" text-anchor="middle">threads</text>'
    yield from legend()
    yield '</svg>'


if __name__ == '__main__':
    with open(sys.argv[1]) as file:
        print('\n'.join(picture(json.load(file))))
