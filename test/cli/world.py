"""world.py - what the tests of mend, the command line, stand on: memcacheds of their own, a
command to run, terminals to run it in.

    m = Memcached()                m.name is what --servers wants; m.kill(), m.start(), m.pause()
    r = mend('get', 'k', servers=m.name)           r.code, r.out and r.err (bytes)
    with Terminal() as t: t.type('mend top\\n'); t.await_screen(lambda s: 'up' in s)

Each memcached dies with the test, and is only ever signalled by its own pid. Nothing of the
user's is read: HOME is a directory of the test's.
"""
import atexit
import os
import pty
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../support'))
from memcached import MEMCACHED, PATIENCE_S, Memcached, await_fact, die_with_parent, nobody  # noqa: F401: the tests', too

MEND = os.path.abspath(sys.argv[1])
SOURCE = os.path.abspath(sys.argv[2])

home = tempfile.mkdtemp(prefix='mend-cli-')
atexit.register(shutil.rmtree, home, ignore_errors=True)


def usual_config():
    """Nothing but more patience than a person has: the machine may be busy."""
    os.makedirs(os.path.join(home, '.config/mend'), exist_ok=True)
    with open(os.path.join(home, '.config/mend/config'), 'w') as file:
        file.write('timeout_ms = 10000\n')


usual_config()

ENV = {
    'PATH': os.path.dirname(MEND) + ':' + os.environ.get('PATH', '/usr/bin:/bin'),
    'HOME': home,
    'TERM': 'xterm',
    'LC_ALL': 'C.UTF-8',
}
ENV.update({name: value for name, value in os.environ.items() if name.endswith('SAN_OPTIONS') or name == 'LD_LIBRARY_PATH'})


class SecuredMemcached(Memcached):
    """Speaks TLS; authority.pem and server.pem are in the directory. None can be had without needs_tls()."""

    def __init__(self, directory, *args):
        server = os.path.join(directory, 'server.pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-subj', '/CN=tests',
                        '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', server, '-out', os.path.join(directory, 'authority.pem')],
                       check=True, stderr=subprocess.DEVNULL)
        with open(server, 'a') as file, open(os.path.join(directory, 'authority.pem')) as authority:
            file.write(authority.read())
        self.tls = ssl._create_unverified_context()
        super().__init__('127.0.0.1', '-Z', '-o', 'ssl_chain_cert=' + server, '-o', 'ssl_key=' + server, *args)
        self.name = 'tls://' + self.name


def needs_tls():
    """None, or why there is none."""
    if not shutil.which('openssl'):
        return 'there is no openssl to make a certificate with'
    if b'ssl' not in subprocess.run(['ldd', MEND], stdout=subprocess.PIPE).stdout:
        return 'this mend is built without TLS'
    if b'TLS' not in subprocess.run([MEMCACHED, '-h'], stdout=subprocess.PIPE).stdout:
        return 'this memcached has no TLS'
    return None


class Liar:
    """A server that says to each command that it knows (its first word) what it was told to, to a meta get a miss, and else ERROR."""

    def __init__(self, answers):
        self.answers = answers
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.name = '127.0.0.1:%d' % self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                threading.Thread(target=self.answer, args=(self.socket.accept()[0],), daemon=True).start()
        except OSError:  # it is closed
            pass

    def answer(self, connection):
        try:
            with connection, connection.makefile('rb') as lines:
                for line in lines:
                    word = line.split()[0] if line.split() else b''
                    connection.sendall(self.answers.get(word, b'EN\r\n' if word == b'mg' else b'VERSION 1\r\n' if word == b'version' else b'ERROR\r\n'))
        except OSError:  # who asked has left
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return 'exit %d, stdout %r, stderr %r' % (self.code, self.out[:2000], self.err[:2000])


def mend(*args, servers=None, stdin=b'', env=None, timeout=PATIENCE_S * 3):
    environment = dict(ENV, **(env or {}))
    if servers:
        environment['MEND_SERVERS'] = servers
    command = [arg if isinstance(arg, bytes) else str(arg) for arg in args]
    p = subprocess.run([MEND] + command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, timeout=timeout)
    return Result(p.returncode, p.stdout, p.stderr)


def shell(script, servers, timeout=PATIENCE_S * 3):
    p = subprocess.run(['bash', '-c', script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       env=dict(ENV, MEND_SERVERS=servers), timeout=timeout)
    return Result(p.returncode, p.stdout, p.stderr)


class Lines:
    """A command that goes on, and its lines as they come."""

    def __init__(self, args, servers):
        self.process = subprocess.Popen([MEND] + args, env=dict(ENV, MEND_SERVERS=servers), stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.rest = b''

    def next(self):
        until = time.monotonic() + PATIENCE_S
        while b'\n' not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError('waited in vain for a line; there was %r' % self.rest)
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise AssertionError('it ended with %r' % self.process.wait(PATIENCE_S))
            self.rest += more
        line, self.rest = self.rest.split(b'\n', 1)
        return line

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)


def on_terminal(*args, servers, answers=(), env=None):
    """Runs it on a terminal. answers: (what to wait for, what to type then), in turn. Returns its exit code and all it wrote."""
    environment = dict(ENV, MEND_SERVERS=servers, **(env or {}))
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(MEND, [MEND] + list(args), environment)
    wrote, answers, until = b'', list(answers), time.monotonic() + PATIENCE_S * 2
    while time.monotonic() < until:
        if not select.select([fd], [], [], 0.1)[0]:
            continue
        try:
            more = os.read(fd, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            more = b''
        if not more:
            break
        wrote += more
        if answers and answers[0][0] in wrote:
            os.write(fd, answers.pop(0)[1])
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), wrote


class Terminal:
    """A real one: tmux's, of 80 columns and 24 lines, with a shell in it."""

    number = 0

    def __init__(self, servers, columns=80, rows=24, env=None):
        Terminal.number += 1
        self.tmux = ['tmux', '-u', '-S', os.path.join(home, 'tmux%d' % Terminal.number), '-f', '/dev/null']
        self.env = dict(ENV, MEND_SERVERS=servers, PS1='$ ', **(env or {}))
        self.run('new-session', '-d', '-x', str(columns), '-y', str(rows), 'bash', '--norc', '--noprofile')
        self.await_screen(lambda screen: screen.startswith('$'), 'a prompt')

    def run(self, *args):
        return subprocess.run(self.tmux + list(args), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout.decode()

    def type(self, keys):
        self.run('send-keys', '-l', keys)

    def press(self, key):
        self.run('send-keys', key)

    def screen(self):
        return self.run('capture-pane', '-p')

    def await_screen(self, fact, what):
        def look():
            screen = self.screen()
            return screen if fact(screen) else None

        try:
            return await_fact(look, what)
        except AssertionError as error:
            raise AssertionError('%s; the screen:\n%s' % (error, self.screen()))

    def resize(self, columns, rows):
        self.run('resize-window', '-x', str(columns), '-y', str(rows))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run('kill-server')
