#!/usr/bin/env python3
"""test_examples.py - the programs of examples/, run as their users run them, while memcached dies and comes back.

    test_examples.py NAME PROGRAM       PROGRAM is what examples/NAME.c was built to

Nothing here depends on how fast the machine is: a program is asked until it says what it must come to say, and what it
says on the way must be right every time.
"""
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../support'))
from memcached import PATIENCE_S, Memcached, await_fact, die_with_parent, nobody

PROGRAM = os.path.abspath(sys.argv[2])


class Running:
    """The program, what it has written on stderr so far, and its lines on stdout."""

    def __init__(self, *args):
        self.process = subprocess.Popen([PROGRAM, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        preexec_fn=die_with_parent, text=True, bufsize=1)
        self.stderr = ''
        self.listens = threading.Thread(target=self.listen, daemon=True)
        self.listens.start()

    def listen(self):
        for line in self.process.stderr:
            self.stderr += line

    def line(self):
        line = self.process.stdout.readline()
        assert line, 'it ended: exit %s, %s' % (self.process.wait(PATIENCE_S), self.stderr)
        return line.rstrip('\n')

    def says(self, pattern):
        await_fact(lambda: re.search(pattern, self.stderr), pattern + ' on stderr')

    def ends(self, signal_number=None):
        """Its exit code, after the signal or the end of its input."""
        if signal_number:
            self.process.send_signal(signal_number)
        self.process.stdin.close()
        self.process.stdout.read()
        code = self.process.wait(PATIENCE_S * 3)
        self.listens.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


def refuses_bad_configuration(*args):
    p = subprocess.run([PROGRAM, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
    assert p.returncode == 1 and p.stderr.startswith('servers: '), p


def example_web():
    directory = tempfile.mkdtemp(prefix='mend-web-')
    m = Memcached()
    web = Running(os.path.join(directory, 'notes.db'), '0', m.name)
    host = urllib.parse.urlparse(web.line()).netloc

    def ask(method, path):
        connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
        connection.request(method, path)
        response = connection.getresponse()
        answer = response.status, response.read().decode(), response.getheader('X-From')
        connection.close()
        return answer

    def get(path, text):
        code, body, source = ask('GET', path)
        assert (code, body) == (200, text), (code, body, source)
        return source

    def put(path, text):
        code = ask('PUT', path + '?text=' + urllib.parse.quote(text))[0]
        assert code == 204, code

    assert ask('GET', '/today')[0] == 404
    put('/today', 'milk and tea')
    await_fact(lambda: get('/today', 'milk and tea') == 'cache', 'the note to come from the cache')
    await_fact(lambda: ask('GET', '/nothing')[::2] == (404, 'cache'), 'the cache to know that there is no such note')
    assert ask('GET', '/' + 'x' * 200)[0] == 400
    assert ask('GET', '/with%20space')[0] == 400
    assert ask('DELETE', '/today')[0] == 405

    # Killed: every request is answered, and what is written is read.
    m.kill()
    for text in ('bread', 'butter'):
        assert get('/today', 'milk and tea' if text == 'bread' else 'bread') != 'cache'
        put('/today', text)
    web.says('is down')
    m.start()
    web.says('serves again')
    await_fact(lambda: get('/today', 'butter') == 'cache', 'the note to come from the new memcached')

    # Hung: nobody waits for it but the first; what was written meanwhile is not served from what it has kept.
    m.pause()

    def quick(requests=20, timeout_s=0.1):
        began = time.monotonic()
        for _ in range(requests):
            assert get('/today', 'butter') != 'cache'
        return time.monotonic() - began < requests * timeout_s

    await_fact(quick, 'requests that do not wait for a hung memcached')
    put('/today', 'beer')
    m.resume()
    await_fact(lambda: get('/today', 'beer') == 'cache', 'the new note to come from the cache')

    assert web.ends(signal.SIGTERM) == 0, web.stderr
    m.kill()
    shutil.rmtree(directory)
    refuses_bad_configuration(':memory:', '0', 'no such host')


def example_pool():
    ROUNDS = 4  # so that there are hits and misses on a machine so busy that calls run into their timeouts, too
    numbers = range(1000, 2000, 5)
    prime = [n > 1 and all(n % d for d in range(2, int(n ** 0.5) + 1)) for n in range(numbers.stop)]
    right = sorted('%d %d' % (n, sum(prime[:n])) for n in numbers)

    def round_of(pool):
        for n in numbers:
            pool.process.stdin.write('%d\n' % n)
        assert sorted(pool.line() for _ in numbers) == right

    def counts(pool):
        return [int(n) for n in re.search(r'^(\d+) hits, (\d+) misses, (\d+) without the cache$', pool.stderr, re.M).groups()]

    m = Memcached()
    pool = Running(m.name)
    for _ in range(ROUNDS):
        round_of(pool)
    m.kill()
    round_of(pool)
    pool.says('is down')
    m.start()
    pool.says('serves again')
    for _ in range(ROUNDS):
        round_of(pool)
    assert pool.ends() == 0, pool.stderr
    hits, misses, without = counts(pool)
    assert hits and misses and without and hits + misses + without == (2 * ROUNDS + 1) * len(numbers), pool.stderr
    m.kill()

    pool = Running(nobody())
    round_of(pool)
    pool.process.stdin.write('many\n')
    assert pool.ends() == 1 and 'not a number up to 100000000: many' in pool.stderr, pool.stderr
    assert counts(pool) == [0, 0, len(numbers)], pool.stderr
    refuses_bad_configuration('no such host')


def example_fork():
    m = Memcached()
    server = Running('0', m.name)
    host, port = server.line().split(':')

    def ask_all(page):
        """What each child says: a child has one connection at a time, so that four are with four children."""
        connections = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(4)]
        said = {}
        for c in connections:
            c.sendall(page.encode() + b'\r\n')
            answer, child = c.makefile().readline().rstrip('\n').rsplit(', says ', 1)
            said[int(child)] = answer
        for c in connections:
            c.close()
        assert len(said) == 4, said
        return said

    def count_all(page):
        """Whether each child counted on from the one before. (After an increment that was lost the counter begins anew.)"""
        told = [re.fullmatch(re.escape(page) + r': (\d+)', answer) for answer in ask_all(page).values()]
        numbers = [int(number[1]) for number in told if number]
        return len(numbers) == 4 and numbers == list(range(numbers[0], numbers[0] + 4))

    await_fact(lambda: count_all('index.html'), 'all children to count')
    assert all('key' in answer for answer in ask_all('').values())

    # Killed: every child answers, and all count again when it is back.
    m.kill()
    assert all(answer.startswith('index.html: unknown (') for answer in ask_all('index.html').values())
    m.start()
    await_fact(lambda: count_all('index.html'), 'all children to count again')

    # A child is killed: another takes its place.
    before = ask_all('index.html')
    killed = next(iter(before))
    os.kill(killed, signal.SIGKILL)
    await_fact(lambda: not os.path.exists('/proc/%d' % killed), 'the child to be gone') # else it may take a connection with it
    after = ask_all('index.html')
    assert killed not in after and len(set(before) & set(after)) == 3, (before, after)
    await_fact(lambda: count_all('index.html'), 'the new child to count')

    assert server.ends(signal.SIGTERM) == 0, server.stderr
    assert not any(os.path.exists('/proc/%d' % child) for child in after), after
    m.kill()
    refuses_bad_configuration('0', 'no such host')


def example_refresh():
    path = os.path.join(tempfile.mkdtemp(prefix='mend-refresh-'), 'numbers')

    def write(text):
        with open(path, 'w') as file:
            file.write(text)

    def await_line(program, report, **at_least):
        """Reads lines until one has this report, and at least so many of a kind."""
        kinds = r'(?P<report>.*): (?P<cache>\d+) from the cache, (?P<stale>\d+) of them stale; (?P<made>\d+) made it, ' \
                r'(?P<shared>\d+) shared that, (?P<memory>\d+) from memory; (?P<failed>\d+) failed; .*'
        lines = []
        while len(lines) < PATIENCE_S * 2:
            lines.append(program.line())
            found = re.fullmatch(kinds, lines[-1])
            assert found, lines[-1]
            if found['report'] == report and all(int(found[kind]) >= n for kind, n in at_least.items()):
                return
        raise AssertionError('waited in vain for %s with %s:\n%s' % (report, at_least, '\n'.join(lines)))

    m = Memcached()
    program = Running(path, '3600', m.name)
    await_line(program, 'no report')
    write('1,2\n3\n')
    await_line(program, '6', cache=1)
    await_line(program, '6', cache=1, made=1)  # ahead of its end: both in one second
    write('1,2\n3\n4\n')
    await_line(program, '10', cache=1)
    m.kill()
    await_line(program, '10', memory=1)
    write('1\n')
    await_line(program, '1')
    m.start()
    await_line(program, '1', cache=1)

    # The report can't be made any more: the old one is served.
    os.remove(path)
    os.mkdir(path)
    await_line(program, '1', stale=1)
    assert program.ends(signal.SIGKILL) == -signal.SIGKILL
    m.kill()

    os.rmdir(path)
    program = Running(path, '1', nobody())
    await_line(program, 'no report')
    assert program.ends() == 0, program.stderr
    os.rmdir(os.path.dirname(path))
    refuses_bad_configuration(path, '1', 'no such host')


globals()['example_' + sys.argv[1]]()
print('ok: examples/%s.c' % sys.argv[1])
