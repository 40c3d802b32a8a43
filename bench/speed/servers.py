"""servers.py - memcacheds for the benchmark: started, pinned to a processor or let free, and ended.

Knows nothing of clients. The program is $MEMCACHED, else memcached from PATH. Each is ended by its own pid, and dies
with us.
"""
import ctypes
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def program():
    return os.environ.get('MEMCACHED') or shutil.which('memcached') or '/usr/bin/memcached'


def free_port():
    """Below the ports that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(('127.0.0.1', port))
                return port
            except OSError:
                pass


class Server:
    def __init__(self, threads, path=None):
        port = None if path else free_port()
        where = ['-s', path] if path else ['-l', '127.0.0.1', '-p', str(port)]
        self.name = f'unix:{path}' if path else f'127.0.0.1:{port}'
        self.family, self.address = (socket.AF_UNIX, path) if path else (socket.AF_INET, ('127.0.0.1', port))
        command = [program(), *where, '-U', '0', '-t', str(threads), '-m', '128', '-I', '2m', '-c', '2048']
        if os.geteuid() == 0:
            command += ['-u', getpass.getuser()]  # it will not be root unless told to
        self.process = subprocess.Popen(command, preexec_fn=die_with_parent, stdin=subprocess.DEVNULL)
        self.await_ready()

    def await_ready(self):
        for _ in range(500):
            with socket.socket(self.family) as s:
                try:
                    s.connect(self.address)
                    return
                except OSError:
                    time.sleep(0.01)
        raise SystemExit(f'bench: no memcached at {self.name}')

    def pin(self, cpus):
        for thread in os.listdir(f'/proc/{self.process.pid}/task'):
            os.sched_setaffinity(int(thread), cpus)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Servers:
    """As many as were asked for so far, on TCP and on a Unix socket."""

    def __init__(self, threads):
        self.threads = threads
        self.directory = tempfile.mkdtemp(prefix='mend-bench-')
        self.tcp, self.unix = [], []

    def take(self, count, transport):
        kind = self.unix if transport == 'unix' else self.tcp
        while len(kind) < count:
            path = os.path.join(self.directory, f'{len(kind)}.sock') if transport == 'unix' else None
            kind.append(Server(self.threads, path))
        return kind[:count]

    def stop(self):
        for server in self.tcp + self.unix:
            server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
