"""memcached.py - memcacheds of a test's own, and how a test waits.

    m = Memcached()                m.name is what --servers wants; m.kill(), m.start(), m.pause()
    await_fact(m.answers, 'it serves')

Each memcached dies with the test, and is only ever signalled by its own pid.
"""
import atexit
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import time

MEMCACHED = os.environ.get('MEMCACHED') or shutil.which('memcached', path=os.environ.get('PATH', '') + ':/usr/bin')
PATIENCE_S = 60  # for a fact to become one; never how long anything takes


def await_fact(fact, what):
    """Returns what `fact` returns as soon as that is true."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError('waited in vain for: ' + what)
        time.sleep(0.01)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def port_free(host):
    """A port where nobody listens now, and that the kernel gives to no outgoing connection, of whoever else is tested meanwhile."""
    try:
        with open('/proc/sys/net/ipv4/ip_local_port_range') as file:
            low = int(file.read().split()[0])
    except OSError:
        low = 32768
    while True:
        port = random.randrange(10000, low) if low > 12000 else random.randrange(10000, 32768)
        with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as s:
            try:
                s.bind((host, port))
                return port
            except OSError:
                continue


class Memcached:
    running = []
    tls = None  # an ssl.SSLContext, if it speaks that

    def __init__(self, host='127.0.0.1', *args):
        self.args = [MEMCACHED, '-u', 'root', '-m', '64'] if os.getuid() == 0 else [MEMCACHED, '-m', '64']
        self.args += args
        if host.startswith('/'):
            self.family, self.address, self.name = socket.AF_UNIX, host, 'unix:' + host
            self.args += ['-s', host]
        else:
            self.family = socket.AF_INET6 if ':' in host else socket.AF_INET
            self.address = (host, port_free(host))
            self.name = ('[%s]:%d' if ':' in host else '%s:%d') % self.address
            self.args += ['-l', host, '-p', str(self.address[1])]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        Memcached.running.append(self)
        await_fact(self.answers, 'memcached at ' + self.name)
        return self

    def answers(self):
        """It does, and is ours: not a stranger that took the port first."""
        assert self.process.poll() is None, 'memcached does not start at ' + self.name
        try:
            answer = self.ask(b'stats\r\n', (b'END\r\n', b'CLIENT_ERROR unauthenticated\r\n'))
            return b'STAT pid %d\r\n' % self.process.pid in answer or b'unauthenticated' in answer
        except OSError:
            return False

    def ask(self, question, end=b'\r\n'):
        with socket.socket(self.family) as s:
            s.settimeout(PATIENCE_S)
            s.connect(self.address)
            if self.tls:
                s = self.tls.wrap_socket(s)
            s.sendall(question)
            answer = b''
            while not answer.endswith(end):
                more = s.recv(65536)
                if not more:
                    break
                answer += more
            return answer

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self in Memcached.running:
            Memcached.running.remove(self)


def kill_all():
    for m in list(Memcached.running):
        m.kill()


atexit.register(kill_all)


def nobody():
    """An address where nobody listens."""
    return '127.0.0.1:%d' % port_free('127.0.0.1')
