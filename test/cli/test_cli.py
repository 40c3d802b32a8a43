#!/usr/bin/env python3
"""test_cli.py MEND SOURCE - mend, the command line, as people and scripts use it: TAP.

Against memcacheds of its own (world.py). Each function that begins with test_ is one test.
"""
import base64
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback

from world import ENV, MEND, PATIENCE_S, SOURCE, Liar, Lines, Memcached, SecuredMemcached, Terminal, await_fact, die_with_parent, home, mend, needs_tls, nobody, on_terminal, shell, usual_config

COMMANDS = ['get', 'set', 'add', 'replace', 'append', 'prepend', 'cas', 'delete', 'touch', 'incr', 'decr', 'exists', 'ping', 'servers',
            'stats', 'which', 'keys', 'dump', 'restore', 'flush', 'top', 'watch', 'bench']

a = Memcached()
b = Memcached()
both = a.name + ',' + b.name


def clean():
    a.ask(b'flush_all\r\n')
    b.ask(b'flush_all\r\n')


def is_error(r, code, *words):
    """One line on stderr that begins with "mend: " and has these words, nothing on stdout."""
    assert r.code == code and r.out == b'', r
    assert re.fullmatch(rb'mend: [^\n]+\n', r.err), r
    for word in words:
        assert word.encode() in r.err, (word, r)


def lines(r):
    return [json.loads(line) for line in r.out.decode().splitlines()]


def path(name):
    return os.path.join(home, name)


# ---- Help ---------------------------------------------------------------------------------


def test_help_lists_every_command_in_80_columns():
    r = mend('help')
    assert r.code == 0 and r.err == b'', r
    assert re.findall(r'^  ([a-z]+) ', r.out.decode(), re.M) == COMMANDS, r
    assert mend('--help').out == r.out
    for name in COMMANDS:
        one = mend(name, '--help')
        assert one.code == 0 and one.out.startswith(b'usage: mend %s ' % name.encode()), one
        assert mend('help', name).out == one.out
        assert max(map(len, one.out.splitlines())) <= 80, one
    assert max(map(len, r.out.splitlines())) <= 80, r


def test_version():
    header = open(os.path.join(SOURCE, 'include/mend.h')).read()
    version = re.search(r'MEND_VERSION "(.*)"', header).group(1)
    assert mend('--version').out == b'mend %s\n' % version.encode()


def test_mistakes_end_with_2_and_say_what_to_do():
    for args, words in {
        (): ['mend help'],
        ('gte', 'k'): ['"gte"', 'mend help'],
        ('get',): ['mend get KEY'],
        ('--foo',): ['--foo', '--help'],
        ('get', '--foo', 'k'): ['--foo', 'mend get --help'],
        ('get', '-x', 'k'): ['-x', 'mend get --help'],
        ('get', '--flags', '1', 'k'): ['--flags', 'mend get --help'],
        ('get', 'k', '--timeout'): ['--timeout', 'wants a value'],
        ('get', 'k', '--json=1'): ['--json=1', 'no value'],
        ('get', 'k', '-w', 'abc'): ['--timeout', '"abc"', '500ms'],
        ('set', 'k', 'v', 'w'): ['quotes'],
        ('set', 'k', 'v', '-t', '-3'): ['--ttl', '"-3"'],
        ('set', 'k', 'v', '-t', '0x10'): ['--ttl', '"0x10"'],
        ('set', 'k', 'v', '-t', '1e3'): ['--ttl', '"1e3"'],
        ('incr', 'k', '-I', '18446744073709551616'): ['--initial', '64 bits'],
        ('set', 'k', 'v', '-f', '4294967296'): ['--flags', '4294967295'],
        ('incr', 'k', 'x'): ['BY', '"x"'],
        ('cas', 'k', '0', 'v'): ['CAS', 'mend get --json k'],
        ('ping', 'now'): ['ping takes no arguments'],
        ('get', '-d', 'foo', 'k'): ['"foo"', 'ketama-weighted', 'modula'],
        ('-s', 'a:b', 'get', 'k'): ['--servers', '"a:b"'],
        ('-s', '', 'get', 'k'): ['--servers'],
        ('get', ''): ['1 to 250 bytes'],
        ('get', 'x' * 251): ['1 to 250 bytes'],
        ('stats', 'a b'): ['"a b"', 'settings'],
        ('dump', '--resume'): ['--output'],
        ('bench', '-T', '1ms'): ['--time'],
        ('top', '-i', '1ms'): ['--interval'],
        ('restore', path('nowhere')): [path('nowhere'), 'No such file'],
        ('restore', '-q', home): [home, 'Is a directory'],
        ('top',): ['no'],
    }.items():
        is_error(mend(*args, servers=both), 2, *words)


# ---- Keys and values ------------------------------------------------------------------------


def test_set_and_get_a_value_exactly():
    clean()
    everything = bytes(range(256)) * 300
    for value in (b'hello', b'', b'one line\n', everything):
        assert repr(mend('set', 'k', servers=both, stdin=value)) == repr(mend('set', 'k', '-', servers=both, stdin=value))
        r = mend('get', 'k', servers=both)
        assert (r.code, r.out, r.err) == (0, value, b''), r
    r = mend('set', 'k', 'as an argument', servers=both)
    assert (r.code, r.out, r.err) == (0, b'', b''), r
    assert mend('get', 'k', servers=both).out == b'as an argument'
    assert mend('set', 'k', '--', '-5', servers=both).code == 0
    assert mend('get', 'k', servers=both).out == b'-5'


def test_a_miss_is_1_and_quiet_if_asked():
    clean()
    is_error(mend('get', 'nothing', servers=both), 1, 'get nothing', 'no such key')
    r = mend('get', '-q', 'nothing', servers=both)
    assert (r.code, r.out, r.err) == (1, b'', b''), r


def test_several_keys_are_a_line_each():
    clean()
    mend('set', 'one', '1', servers=both)
    mend('set', 'two', '2', servers=both)
    r = mend('get', 'one', 'none', 'two', servers=both)
    assert (r.code, r.out) == (1, b'1\n2\n') and r.err.count(b'\n') == 1, r
    r = mend('get', '-', servers=both, stdin=b'one\ntwo\n')
    assert (r.code, r.out) == (0, b'1\n2\n'), r


def test_json_of_values():
    clean()
    mend('set', 'text', 'h\u00e9\u0000'.encode().replace(b'\0', b'"'), '-f', '7', '-t', '100', servers=both)
    mend('set', b'k \xff', servers=both, stdin=b'\xff\0')
    text, binary, none = lines(mend('get', '-j', 'text', b'k \xff', 'none', servers=both))
    assert text['value'] == 'h\u00e9"' and text['flags'] == 7 and 0 < text['ttl_s'] <= 100 and text['cas'] > 0, text
    assert text['server'] in (a.name, b.name) and text['status'] == 'MEND_OK', text
    assert base64.b64decode(binary['value_base64']) == b'\xff\0' and base64.b64decode(binary['key_base64']) == b'k \xff', binary
    assert binary['ttl_s'] is None, binary
    assert none['status'] == 'MEND_MISS' and 'value' not in none, none


def test_add_replace_append_prepend():
    clean()
    is_error(mend('replace', 'k', 'x', servers=both), 1, 'no such key')
    is_error(mend('append', 'k', 'x', servers=both), 1, 'no such key')
    assert mend('add', 'k', 'b', servers=both).code == 0
    is_error(mend('add', 'k', 'x', servers=both), 1, 'there already')
    assert mend('append', 'k', 'c', servers=both).code == 0
    assert mend('prepend', 'k', 'a', servers=both).code == 0
    assert mend('get', 'k', servers=both).out == b'abc'
    assert mend('replace', 'k', 'd', servers=both).code == 0
    assert mend('get', 'k', servers=both).out == b'd'


def test_cas():
    clean()
    mend('set', 'k', 'old', servers=both)
    cas = lines(mend('get', '-j', 'k', servers=both))[0]['cas']
    assert mend('cas', 'k', cas, 'new', servers=both).code == 0
    is_error(mend('cas', 'k', cas, 'newer', servers=both), 1, 'somebody stored')
    assert mend('get', 'k', servers=both).out == b'new'


def test_ttls():
    clean()
    for given, seconds in {'90': 90, '90s': 90, '15m': 900, '2h': 7200, '7d': 604800, '60d': 5184000}.items():
        mend('set', 'k', 'v', '--ttl', given, servers=both)
        left = lines(mend('get', '-j', 'k', servers=both))[0]['ttl_s']
        assert seconds - 60 < left <= seconds + 1, (given, left)  # the clock's second may turn between
    mend('touch', 'k', servers=both)
    assert lines(mend('get', '-j', 'k', servers=both))[0]['ttl_s'] is None
    assert mend('touch', '-t', '1h', 'k', servers=both).code == 0
    assert lines(mend('get', '-j', 'k', servers=both))[0]['ttl_s'] > 3500
    assert mend('get', '-t', '2h', 'k', servers=both).out == b'v'
    assert lines(mend('get', '-j', 'k', servers=both))[0]['ttl_s'] > 7000
    is_error(mend('touch', 'none', servers=both), 1, 'no such key')
    mend('set', 'k', 'v', '--ttl', '500ms', servers=both)  # less than memcached can count is a second, and not for ever
    await_fact(lambda: mend('get', 'k', servers=both).code == 1, 'the end of half a second')


def test_delete_and_exists():
    clean()
    for key in ('one', 'two', 'three'):
        mend('set', key, 'x', servers=both)
    r = mend('exists', 'one', 'none', 'two', servers=both)
    assert (r.code, r.out, r.err) == (1, b'one\ntwo\n', b''), r
    assert mend('exists', 'one', 'two', servers=both).code == 0
    assert mend('delete', 'one', servers=both).code == 0
    is_error(mend('delete', 'one', servers=both), 1, 'no such key')
    assert mend('delete', '-', servers=both, stdin=b'two\nthree\n').code == 0
    r = mend('exists', '-j', 'two', servers=both)
    assert r.code == 1 and lines(r)[0]['status'] == 'MEND_MISS', r


def test_counters():
    clean()
    is_error(mend('incr', 'n', servers=both), 1, 'no such key')
    for args, number in ((('incr', 'n', '-I', '7'), 7), (('incr', 'n'), 8), (('incr', 'n', '10'), 18), (('decr', 'n', '3'), 15), (('decr', 'n', '99'), 0)):
        r = mend(*args, servers=both)
        assert (r.code, r.out) == (0, b'%d\n' % number), r
    assert lines(mend('incr', '-j', 'n', servers=both))[0]['number'] == 1
    assert mend('incr', 'most', '-I', 2 ** 64 - 1, servers=both).out == b'%d\n' % (2 ** 64 - 1)
    mend('set', 'n', 'x', servers=both)
    is_error(mend('incr', 'n', servers=both), 1, 'not a decimal number')


def test_a_value_too_large_is_refused():
    is_error(mend('set', 'k', servers=both, stdin=b'x' * 2000000), 1, 'larger than the server stores')


# ---- Servers that are not there ---------------------------------------------------------------


def test_a_dead_server_is_3_for_every_command():
    dead = nobody()
    open(path('some'), 'w').write('set k 0 0 1\r\nv\r\nmn\r\n')
    for args in (['get', 'k'], ['set', 'k', 'v'], ['delete', 'k'], ['touch', 'k'], ['incr', 'k'], ['exists', 'k'], ['stats'], ['keys'],
                 ['flush', '--yes'], ['bench']):
        is_error(mend(*args, servers=dead), 3, dead, 'refused' if args[0] not in ('bench', 'flush') else '')
    for args in (['ping'], ['servers'], ['which', 'k'], ['dump'], ['restore', path('some')]):
        r = mend(*args, servers=dead)
        assert r.code == 3, (args, r)
    assert lines(mend('get', '-j', 'k', servers=dead))[0]['status'] in ('MEND_E_DOWN', 'MEND_E_IO')


def test_a_hung_server_is_3_after_the_timeout():
    c = Memcached()
    c.pause()
    for args in (['get', 'k'], ['stats'], ['ping'], ['servers'], ['keys'], ['dump']):
        r = mend(*args, '-w', '200ms', servers=c.name)
        assert r.code == 3, (args, r)
        assert args[0] not in ('ping', 'servers') or re.search(b'DOWN .*no answer', r.out), (args, r)
    c.kill()


def test_words_of_a_hostile_server_do_not_reach_the_terminal():
    words = b'\033]0;owned\a\033[31m\x9b31m\xc2\x9b31m\x7f'
    for refuses in (False, True):
        with Liar({b'stats': b'SERVER_ERROR %s\r\n' % words if refuses else b'STAT %s %s\r\nEND\r\n' % (words, words),
                   b'lru_crawler': b'ERROR %s\r\n' % words if refuses else b'%s\r\n' % words}) as liar:
            for args in (['stats'], ['stats', '-j'], ['keys'], ['dump'], ['dump', '-j']):
                r = mend(*args, servers=liar.name)
                assert b'31m' in r.out + r.err and re.fullmatch(rb'[\n -~]*', r.out + r.err), (args, r)
    clean()
    mend('set', 'k', 'a\u009b\x7f\u00e9', servers=both)
    r = mend('get', '-j', 'k', servers=both)
    assert rb'"a\u009b\u007f' in r.out and lines(r)[0]['value'] == 'a\u009b\x7f\u00e9', r


def test_the_others_serve_on():
    dead = nobody()
    clean()
    r = mend('ping', servers=dead + ',' + a.name)
    assert r.code == 3 and re.search(rb'^%s +DOWN +connection refused$' % dead.encode(), r.out, re.M), r
    assert re.search(rb'^%s +[0-9.]+ [um]s$' % a.name.encode(), r.out, re.M), r


# ---- Where the servers come from ----------------------------------------------------------------


def test_servers_option_then_environment_then_file():
    os.makedirs(path('.config/mend'), exist_ok=True)
    c = Memcached()
    clean()
    for server, value in ((a, 'a'), (b, 'b'), (c, 'c')):
        mend('set', 'who', value, servers=server.name)
    with open(path('.config/mend/config'), 'w') as file:
        file.write('# ours\n\n  servers =  %s \ntimeout_ms=500\ndistribution = modula\n' % c.name)
    try:
        assert mend('get', 'who').out == b'c'
        assert mend('get', 'who', env={'MEND_SERVERS': a.name}).out == b'a'
        assert mend('-s', b.name, 'get', 'who', env={'MEND_SERVERS': a.name}).out == b'b'
        assert mend('get', '--servers=' + b.name, 'who', env={'MEND_SERVERS': a.name}).out == b'b'
        assert re.search(rb'^\* modula', mend('which', 'k').out, re.M)
        assert re.search(rb'^\* crc32', mend('which', '-d', 'crc32', 'k').out, re.M)
        os.makedirs(path('xdg/mend'), exist_ok=True)
        shutil.copy(path('.config/mend/config'), path('xdg/mend/config'))
        os.remove(path('.config/mend/config'))
        assert mend('get', 'who', env={'XDG_CONFIG_HOME': path('xdg')}).out == b'c'
        assert mend('-c', path('xdg/mend/config'), 'get', 'who').out == b'c'
    finally:
        usual_config()
    c.kill()


def test_servers_that_are_found_out():
    clean()
    found = 'dns://' + a.name
    mend('set', 'k', 'v', servers=a.name)
    for args, words in ((['ping'], a.name), (['servers'], a.name), (['stats'], 'cmd_get'), (['keys'], 'k'), (['dump'], 'set k'), (['get', 'k'], 'v'),
                        (['watch', '-n', '1'], a.name), (['top', '-j', '-n', '1', '-i', '0.1'], a.name)):
        r = mend(*args, servers=found)
        assert r.code == 0 and words.encode() in r.out, (args, r)
    for args in (['ping'], ['servers'], ['keys'], ['watch'], ['bench']):
        is_error(mend(*args, '-w', '200ms', servers='cluster://' + nobody()), 3, 'no server was found')


def test_a_gutter_is_a_setting():
    dead = nobody()
    with open(path('gutter'), 'w') as file:
        file.write('servers = %s\ngutter = %s\ngutter_ttl_s = 30\ntimeout_ms = 10000\n' % (dead, a.name))
    assert mend('-c', path('gutter'), 'set', 'k', 'stood in for').code == 0
    assert lines(mend('-c', path('gutter'), 'get', '-j', 'k'))[0]['server'] == a.name
    assert lines(mend('get', '-j', 'k', servers=a.name))[0]['ttl_s'] <= 30
    states = lines(mend('-c', path('gutter'), 'servers', '-j'))
    assert [(s['server'], s['state'] == 'up', s['gutter']) for s in states] == [(dead, False, False), (a.name, True, True)], states
    assert [p['status'] for p in lines(mend('-c', path('gutter'), 'ping', '-j'))] == ['MEND_E_DOWN', 'MEND_OK']


def all_of_it_works(settings, servers):
    """What goes through the library, and what is asked without it: stats and keys."""
    with open(path('private'), 'w') as file:
        file.write('timeout_ms = 10000\nservers = %s\n%s' % (servers, settings))
    assert mend('-c', path('private'), 'set', 'k', 'v').code == 0
    assert mend('-c', path('private'), 'get', 'k').out == b'v'
    r = mend('-c', path('private'), 'stats', '-j')
    assert r.code == 0 and b'curr_items' in r.out, r
    r = mend('-c', path('private'), 'keys')
    assert r.code == 0 and r.out.split() == [b'k'], r


def test_a_server_that_wants_a_password():
    for name, text in (('users', 'joe:secret\n'), ('wrong', 'joe:guess1\n')):
        with open(path(name), 'w') as file:
            file.write(text)
    m = Memcached('127.0.0.1', '-Y', path('users'))
    all_of_it_works('auth_file = %s\n' % path('users'), m.name)
    all_of_it_works('username = joe\npassword = secret\n', m.name)
    for settings, word in (('', b'authenticat'), ('auth_file = %s\n' % path('wrong'), b'refuses')):
        with open(path('private'), 'w') as file:
            file.write('servers = %s\n%s' % (m.name, settings))
        r = mend('-c', path('private'), 'stats')
        assert r.code == 3 and word in r.err and b'guess1' not in r.err, r
    m.kill()


def test_a_server_that_speaks_tls():
    os.makedirs(path('tls'), exist_ok=True)
    m = SecuredMemcached(path('tls'))
    trust = 'ca_file = %s\n' % path('tls/authority.pem')
    all_of_it_works(trust, m.name)
    assert mend('-c', path('private'), '--servers', a.name, 'ping').code == 0  # where nobody speaks it, what is said of it is no mistake
    for server, settings, word in ((m.name, '', b'certificate'), (m.name, trust + 'server_name = cache.example\n', b'mismatch')):
        with open(path('private'), 'w') as file:
            file.write('servers = %s\n%s' % (server, settings))
        r = mend('-c', path('private'), 'stats')
        assert r.code == 3 and b'TLS: ' in r.err and word in r.err, r
    m.kill()


test_a_server_that_speaks_tls.needs = needs_tls


def test_a_bad_file_is_named_with_its_line():
    for text, line, words in (('\n# fine\nservers\n', 3, ['NAME = VALUE']), ('timeout = 5\n', 1, ['"timeout"', 'timeout_ms']),
                              ('servers = x\ntimeout_ms = soon\n', 2, ['"soon"']), ('servers =\n', 1, ['no value']),
                              ('distribution = foo\n', 1, ['"foo"', 'modula'])):
        with open(path('bad'), 'w') as file:
            file.write(text)
        is_error(mend('-c', path('bad'), 'ping'), 2, '%s:%d:' % (path('bad'), line), *words)
    is_error(mend('-c', path('nowhere'), 'ping'), 2, path('nowhere'), 'No such file')
    with open(path('bad'), 'w') as file:
        file.write('\nservers = a:b\n')
    is_error(mend('-c', path('bad'), 'ping'), 2, path('bad') + ':2:', '"a:b"')


def test_every_kind_of_address():
    six, local = Memcached('::1'), Memcached(path('socket'))
    for m in (six, local):
        assert mend('set', 'k', 'v', servers=m.name).code == 0
        assert lines(mend('ping', '-j', servers=m.name))[0]['status'] == 'MEND_OK'
        assert lines(mend('stats', '-j', servers=m.name))[0]['stats']['curr_items'] == '1'
        assert mend('keys', servers=m.name).out == b'k\n'
        assert lines(mend('servers', '-j', servers=m.name))[0]['server'] == m.name
    port = a.name.split(':')[1]
    assert lines(mend('stats', '-j', servers='localhost:%s*3=ring' % port))[0]['server'] == 'localhost:' + port
    six.kill()
    local.kill()


# ---- About servers ----------------------------------------------------------------------------------


def test_ping_and_servers():
    r = mend('ping', servers=both)
    assert r.code == 0 and len(r.out.splitlines()) == 2 and r.err == b'', r
    assert [p['ms'] > 0 for p in lines(mend('ping', '-j', '-n', '2', '-i', '20ms', servers=both))] == [True] * 4
    r = mend('servers', servers=both)
    assert r.code == 0 and re.search(rb'^%s +up +1 +meta' % a.name.encode(), r.out, re.M), r
    states = lines(mend('servers', '-j', servers=both))
    assert [(s['server'], s['state'], s['protocol']) for s in states] == [(a.name, 'up', 'meta'), (b.name, 'up', 'meta')], states


def test_stats():
    r = mend('stats', servers=both)
    assert r.code == 0 and r.out.count(b'  pid  ') == 2 and r.out.startswith(a.name.encode() + b'\n'), r
    pids = [int(s['stats']['pid']) for s in lines(mend('stats', '--json', servers=both))]
    assert pids == [a.process.pid, b.process.pid], pids
    assert 'maxbytes' in lines(mend('stats', '-j', 'settings', servers=both))[0]['stats']
    dead = nobody()
    r = mend('stats', servers=dead + ',' + a.name)
    assert r.code == 3 and r.out.startswith(a.name.encode()) and dead.encode() in r.err, r


def test_which_names_the_server_that_has_it():
    clean()
    for name in ('ketama-weighted', 'ketama', 'consistent-md5', 'modula', 'crc32'):
        for i in range(5):
            key = '%s-%d' % (name, i)
            mend('set', '-d', name, key, 'x', servers=both)
            found = [w for w in lines(mend('which', '-j', '-d', name, key, servers=both)) if w['used']]
            assert len(found) == 1 and found[0]['distribution'] == name and found[0]['status'] == 'MEND_OK', found
            holder = a if found[0]['server'] == a.name else b
            assert holder.ask(b'get %s\r\n' % key.encode(), b'END\r\n').startswith(b'VALUE'), found
    r = mend('which', 'modula-0', servers=both)
    assert r.code == 0 and len(r.out.splitlines()) == 6 and r.out.count(b'\n* ') == 1, r


# ---- All keys -----------------------------------------------------------------------------------------


def fill(keys, value=b'v', **options):
    """By the client, so that each is where it is looked for."""
    with open(path('filling'), 'wb') as file:
        for key in keys:
            file.write(b'set %s %d 0 %d\r\n%s\r\n' % (key.encode(), options.get('flags', 0), len(value), value))
        file.write(b'mn\r\n')
    assert mend('restore', path('filling'), servers=both).code == 0


def test_keys():
    clean()
    fill(['user:%d' % i for i in range(700)] + ['other', '100%'])
    mend('set', b'a b\xff', 'x', servers=both)
    found = mend('keys', servers=both).out.decode().split()
    assert sorted(found) == sorted(['user:%d' % i for i in range(700)] + ['other', '100%25', 'a%20b%FF']), found
    assert sorted(mend('keys', 'user:1?', 'oth*', servers=both).out.split()) == sorted([b'other'] + [b'user:1%d' % i for i in range(10)])
    assert len(mend('keys', '-n', '5', servers=both).out.split()) == 5
    key = [k for k in lines(mend('keys', '-j', servers=both)) if 'key_base64' in k]
    assert len(key) == 1 and base64.b64decode(key[0]['key_base64']) == b'a b\xff' and key[0]['expires_s'] is None, key
    listed = mend('keys', servers=both).out
    assert mend('exists', '-', servers=both, stdin=listed).out == listed
    assert mend('delete', '-', servers=both, stdin=listed).code == 0
    assert mend('keys', servers=both).out == b''


def test_a_long_list_holds_up_nobody():
    """Not its reader, who is slow, nor a dump's own gets, nor other clients."""
    clean()
    a.ask(b''.join(b'set some:key:%d 0 0 1 noreply\r\nx\r\n' % i for i in range(100000)) + b'mn\r\n', b'MN\r\n')
    slow = subprocess.Popen([MEND, 'keys'], env=dict(ENV, MEND_SERVERS=a.name), stdout=subprocess.PIPE, preexec_fn=die_with_parent)
    select.select([slow.stdout], [], [], PATIENCE_S)  # it has begun, and then waits for us
    for _ in range(3):
        r = mend('dump', '-j', '-o', path('all'), servers=a.name)
        os.remove(path('all'))
        assert r.code == 0 and lines(r)[0]['dumped'] == 100000, r
    assert len(slow.communicate(timeout=PATIENCE_S)[0].split()) == 100000


def test_a_closed_pipe_is_silent():
    clean()
    fill(['k%d' % i for i in range(20000)])
    r = shell('mend keys | head -n 2; echo ${PIPESTATUS[0]}', both)
    assert r.err == b'' and r.out.count(b'k') == 2, r
    assert r.out.endswith(b'\n141\n'), r
    r = shell('mend watch | head -n 1', a.name)  # ends though no second line comes
    assert r.err == b'' and r.out.count(b'\n') == 1, r


def everything():
    """What the servers have, but for the time that is left, by asking for each key."""
    found = {}
    for name in mend('keys', servers=both).out.split():
        one = lines(mend('get', '-j', '-', servers=both, stdin=name + b'\n'))[0]
        assert one['status'] == 'MEND_OK', one
        found[name] = (one.get('value', one.get('value_base64')), one['flags'], one['ttl_s'] is None)
    return found


def timeless(dump):
    """Its lines in order. When an item expires is a clock's word and a server's, each of them in whole seconds."""
    return sorted(re.sub(rb'(?m)^(set \S+ \d+) [1-9]\d* ', rb'\1 LATER ', dump).splitlines())


def test_dump_and_restore_round_trip():
    clean()
    fill(['k%d' % i for i in range(50)], b'\r\nset x 0 0 1\r\n\0', flags=3)
    mend('set', 'expires', 'x', '-t', '2h', '-f', '4294967295', servers=both)
    mend('set', b'k \n\xff', servers=both, stdin=bytes(range(256)))
    mend('set', 'empty', '', servers=both)
    before = everything()
    assert len(before) == 53, before
    r = mend('dump', '-o', path('dump'), servers=both)
    assert r.code == 0 and r.out == b'' and b'53 keys' in r.err, r
    r = mend('dump', servers=both)
    assert r.code == 0 and timeless(r.out) == timeless(open(path('dump'), 'rb').read()), r
    mend('flush', '--yes', servers=both)
    r = mend('restore', path('dump'), servers=both)
    assert r.code == 0 and b'53 keys' in r.err, r
    assert everything() == before
    left = lines(mend('get', '-j', 'expires', servers=both))[0]['ttl_s']
    assert 7000 < left <= 7200, left
    mend('flush', '-y', servers=both)
    assert mend('restore', servers=both, stdin=open(path('dump'), 'rb').read()).code == 0
    assert everything() == before
    # What it is made of is memcached's own protocol.
    c = Memcached()
    answer = c.ask(open(path('dump'), 'rb').read(), b'MN\r\n')
    assert answer.count(b'STORED') + answer.count(b'HD') == 53 and b'ERROR' not in answer, answer
    assert len(mend('keys', servers=c.name).out.split()) == 53
    c.kill()
    is_error(mend('dump', '-o', path('dump'), servers=both), 2, 'there already', '--resume')


def test_dump_takes_patterns_and_json():
    clean()
    fill(['a1', 'a2', 'b1'])
    r = mend('dump', 'a*', '-j', '-o', path('part'), servers=both)
    assert r.code == 0 and lines(r)[0]['dumped'] == 2 and lines(r)[0]['complete'] is True, r
    assert b'b1' not in open(path('part'), 'rb').read()


def test_dump_leaves_out_what_a_get_would_not_find():
    clean()
    fill(['k%d' % i for i in range(100)])
    r = mend('dump', '-j', '-o', path('other'), '-d', 'modula', servers=both)
    summary = lines(r)[0]
    assert summary['elsewhere'] > 0 and summary['dumped'] + summary['elsewhere'] == 100, summary
    held = {line.split()[1].decode() for line in open(path('other'), 'rb') if line.startswith(b'set ')}
    for i in range(100):
        code = mend('exists', '-q', '-d', 'modula', 'k%d' % i, servers=both).code
        assert (code == 0) == ('k%d' % i in held), i
    assert b'left out' in mend('dump', '-d', 'modula', servers=both).err


def test_a_dump_that_was_cut_is_gone_on_with():
    clean()
    fill(['k%d' % i for i in range(300)], b'12345\r\n')
    mend('dump', '-o', path('whole'), servers=both)
    whole = open(path('whole'), 'rb').read()
    for size in (0, 1, 7, 20, 21, 22, 30, len(whole) // 2, len(whole) - 5, len(whole) - 4, len(whole) - 3, len(whole) - 1):
        with open(path('cut'), 'wb') as file:
            file.write(whole[:size])
        r = mend('dump', '--resume', '-o', path('cut'), servers=both)
        assert r.code == 0, (size, r)
        assert sorted(open(path('cut'), 'rb').read().splitlines()) == sorted(whole.splitlines()), size
    # Nothing is left to write over the half of a record.
    begins = [match.start() for match in re.finditer(rb'set k', whole)]
    with open(path('cut'), 'wb') as file:
        file.write(whole[:begins[11] - 3])
    clean()
    assert mend('dump', '--resume', '-o', path('cut'), servers=both).code == 0
    assert open(path('cut'), 'rb').read() == whole[:begins[10]] + b'mn\r\n'
    r = mend('dump', '-r', '-o', path('whole'), servers=both)
    assert r.code == 0 and b'complete' in r.err and open(path('whole'), 'rb').read() == whole, r
    with open(path('cut'), 'wb') as file:
        file.write(b'something else\n')
    is_error(mend('dump', '-r', '-o', path('cut'), servers=both), 2, 'is no dump')
    assert open(path('cut'), 'rb').read() == b'something else\n'


def test_a_dump_that_was_interrupted_is_gone_on_with():
    clean()
    fill(['k%d' % i for i in range(3000)], b'x' * 5000)
    for _ in range(20):  # it may have been too fast
        if os.path.exists(path('slow')):
            os.remove(path('slow'))
        p = subprocess.Popen([MEND, 'dump', '-w', '20s', '-o', path('slow')], env=dict(ENV, MEND_SERVERS=both), stderr=subprocess.PIPE)
        await_fact(lambda: os.path.exists(path('slow')) and os.path.getsize(path('slow')), 'a dump that has begun')
        a.pause()
        b.pause()
        p.send_signal(signal.SIGINT)
        a.resume()
        b.resume()
        err = p.communicate(timeout=PATIENCE_S)[1]
        if p.returncode:
            break
    assert p.returncode == -signal.SIGINT and b'not complete' in err and b'--resume' in err, (p.returncode, err)
    assert not open(path('slow'), 'rb').read().endswith(b'mn\r\n')
    r = mend('dump', '-r', '-o', path('slow'), servers=both)
    assert r.code == 0 and b'from before' in r.err, r
    held = sorted(line.split()[1] for line in open(path('slow'), 'rb') if line.startswith(b'set '))
    assert held == sorted(b'k%d' % i for i in range(3000)), len(held)


def test_restore_leaves_out_what_has_expired_and_what_is_there():
    clean()
    now = int(time.time())
    with open(path('mixed'), 'wb') as file:
        file.write(b'set old 0 %d 1\r\nx\r\nset new 0 %d 1\r\nx\r\nset ever 0 0 1\r\nx\r\nmn\r\n' % (now - 10, now + 1000))
    mend('set', 'ever', 'kept', servers=both)
    summary = lines(mend('restore', '-j', '--add', path('mixed'), servers=both))[0]
    assert (summary['restored'], summary['expired'], summary['kept']) == (1, 1, 1), summary
    assert mend('get', 'ever', servers=both).out == b'kept'
    assert mend('restore', path('mixed'), servers=both).code == 0
    assert mend('get', 'ever', 'new', servers=both).out == b'x\nx\n'
    assert mend('exists', 'old', servers=both).code == 1


def test_restore_of_half_a_dump_or_none():
    clean()
    r = mend('restore', servers=both, stdin=b'set k 0 0 1\r\nx\r\nset l 0 0 5\r\nx')
    assert r.code == 2 and b'not complete' in r.err and mend('get', 'k', servers=both).out == b'x', r
    r = mend('restore', servers=both, stdin=b'set k 0 0 1\r\ny\r\n')
    assert r.code == 2 and b'not complete' in r.err and mend('get', 'k', servers=both).out == b'y', r
    for text in (b'hello\n', b'set k 0 0 1\r\nxyz\r\n', b'set k 0 0 99999999999\r\n', b'x' * 2000, b'set %s 0 0 1\r\nx\r\n' % (b'k' * 300), b'\0\n'):
        r = mend('restore', servers=both, stdin=text)
        assert r.code == 2 and b'is no dump from byte 0' in r.err, (text, r)


def test_a_restore_that_stopped_says_where_to_go_on():
    clean()
    fill(['k%d' % i for i in range(2000)], b'x' * 1000)
    mend('dump', '-o', path('long'), servers=both)
    mend('flush', '-y', servers=both)
    c = Memcached()
    dead = nobody()
    r = mend('restore', path('long'), servers=dead)
    assert r.code == 3 and b'mend restore --from 0 ' in r.err, r
    # With one of two gone: at the first batch. What it says is run, with a server that is there.
    r = mend('restore', path('long'), servers=c.name + ',' + dead)
    command = re.search(rb'mend (restore --from \d+ \S+)', r.err).group(1).decode().split()
    assert r.code == 3 and mend(*command, servers=c.name).code == 0, r
    assert len(mend('keys', servers=c.name).out.split()) == 2000
    middle = open(path('long'), 'rb').read().index(b'set ', 500000)
    mend('flush', '-y', servers=c.name)
    assert mend('restore', '--from', middle, path('long'), servers=c.name).code == 0
    assert 0 < len(mend('keys', servers=c.name).out.split()) < 2000
    c.kill()


# ---- Terminals, colours, pipes ------------------------------------------------------------------------------


def test_a_value_on_a_terminal_ends_its_line():
    clean()
    mend('set', 'k', 'v', servers=both)
    mend('set', 'line', 'v\n', servers=both)
    assert on_terminal('get', 'k', servers=both) == (0, b'v\r\n')
    assert on_terminal('get', 'line', servers=both) == (0, b'v\r\n')


def test_a_value_may_be_typed():
    code, wrote = on_terminal('set', 'typed', servers=both, answers=[(b'Ctrl-D', b'by hand\n\x04')])
    assert code == 0 and b'The value of typed' in wrote, wrote
    assert mend('get', 'typed', servers=both).out == b'by hand\n'


def test_flush_asks_and_takes_no_for_an_answer():
    mend('set', 'k', 'v', servers=both)
    is_error(mend('flush', servers=both), 2, '--yes')
    is_error(mend('flush', servers=both, stdin=b'yes\n'), 2, '--yes')
    for answer in (b'no\n', b'\n', b'\x04'):
        code, wrote = on_terminal('flush', servers=both, answers=[(b'?', answer)])
        assert code == 1 and a.name.encode() in wrote and b'nothing was removed' in wrote, (answer, code, wrote)
    assert mend('get', 'k', servers=both).out == b'v'
    code, wrote = on_terminal('flush', servers=both, answers=[(b'?', b'yes\n')])
    assert code == 0 and mend('exists', '-q', 'k', servers=both).code == 1, (code, wrote)
    mend('set', 'k', 'v', servers=both)
    assert mend('flush', '--yes', servers=both).code == 0 and mend('exists', 'k', servers=both).code == 1


def test_colours_only_on_a_terminal():
    for args in (['servers'], ['stats'], ['which', 'k']):
        assert b'\033' in on_terminal(*args, servers=both)[1], args
        assert b'\033' not in on_terminal(*args, servers=both, env={'NO_COLOR': '1'})[1], args
        assert b'\033' not in on_terminal(*args, servers=both, env={'TERM': 'dumb'})[1], args
        assert b'\033' not in mend(*args, servers=both).out, args


def test_a_full_disk_is_told():
    mend('set', 'k', 'v', servers=both)
    r = shell('mend get k >/dev/full', both)
    is_error(r, 2, 'No space left')
    r = shell('mend dump >/dev/full', both)
    assert r.code != 0 and b'No space left' in r.err, r


def test_watch_tells_what_happens():
    c = Memcached()
    p = Lines(['watch', '-j', '-i', '50ms', '-w', '2s'], c.name)
    events = []

    def next_event():
        events.append(json.loads(p.next()))
        return events[-1]['event']

    assert next_event() == 'up'
    c.kill()
    while next_event() != 'down':
        assert events[-1]['event'] == 'doubtful', events
    assert events[-1]['why'] and events[-1]['server'] == c.name, events
    c.start()
    assert next_event() == 'back' and events[-1]['outage_ms'] > 0, events
    c.pause()
    while next_event() != 'down':
        assert events[-1]['event'] == 'doubtful', events
    assert p.interrupt() == -signal.SIGINT
    c.kill()
    dead = nobody()
    r = mend('watch', '-n', '1', servers=dead)
    assert r.code == 0 and re.fullmatch(rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  %s +down +connection refused\n' % dead.encode(), r.out), r


def needs_tmux():
    return None if shutil.which('tmux') else 'no tmux here'


def test_top_on_a_screen():
    c, dead = Memcached(), nobody()
    mend('set', 'k', 'v', servers=c.name)
    with Terminal(dead + ',' + c.name) as t:
        t.type('stty -g >%s; mend top -w 200ms -i 0.2; echo "code $?"\n' % path('stty.1'))
        screen = t.await_screen(lambda s: '1 of 2 up' in s and re.search(r'[▁▂▃▄▅▆▇█]{5}', s) and re.search(r'xxxxx', s)
                                and re.search(r'^%s +DOWN +\S+ s  connection refused$' % dead, s, re.M)
                                and re.search(r'^%s +up +\S+ s +\d' % c.name, s, re.M), 'servers and histories')
        assert 'mend top' in screen.splitlines()[0] and len(screen.splitlines()) <= 24, screen
        assert all(len(line) <= 80 for line in screen.splitlines()), screen
        assert 'stty' not in screen, screen
        c.pause()
        t.await_screen(lambda s: '0 of 2 up' in s and 'no answer' in s, 'a hung server')
        c.resume()
        t.await_screen(lambda s: '1 of 2 up' in s, 'a server that is back')
        t.resize(60, 8)
        screen = t.await_screen(lambda s: len(s.splitlines()) <= 8 and 'mend top' in s and 'q ends it' in s, 'a small screen')
        t.resize(80, 24)
        t.press('q')
        t.await_screen(lambda s: 'code 0' in s and 'mend top' in s.splitlines()[0] and '1 of 2 up' not in s, 'the shell as it was')
        t.type('clear; mend top\n')
        t.await_screen(lambda s: 'of 2 up' in s, 'top')
        t.press('C-c')
        t.await_screen(lambda s: s.rstrip().endswith('$'), 'a prompt')
        t.type('echo "code $?"; stty -g >%s\n' % path('stty.2'))
        t.await_screen(lambda s: 'code 130' in s and 'of 2 up' not in s, 'code 130')
        await_fact(lambda: os.path.exists(path('stty.2')) and open(path('stty.2')).read(), 'the settings of the terminal')
        assert open(path('stty.1')).read() == open(path('stty.2')).read()
        assert t.run('display-message', '-p', '#{cursor_flag} #{alternate_on} #{wrap_flag}').split() == ['1', '0', '1']
    c.kill()


test_top_on_a_screen.needs = needs_tmux


def test_top_with_more_servers_than_lines():
    dead = nobody()
    many = ','.join(['%s=%d' % (a.name, 0)] + ['127.0.0.2:%d' % (20000 + i) for i in range(40)] + [dead])
    with Terminal(many) as t:
        t.type('mend top -i 0.2\n')
        screen = t.await_screen(lambda s: 'more: make the window higher' in s and 'DOWN' in s, 'a list that is cut')
        assert len(screen.splitlines()) <= 24 and 'mend top' in screen.splitlines()[0] and 'q ends it' in screen, screen
        assert all(len(line) <= 80 for line in screen.splitlines()), screen
        shown, more = len(re.findall(r'^127\.', screen, re.M)), int(re.search(r'and (\d+) more', screen).group(1))
        assert shown + more == 42, screen
        t.press('q')


test_top_with_more_servers_than_lines.needs = needs_tmux


def test_top_and_watch_without_colours_or_utf8():
    with Terminal(both, env={'NO_COLOR': '1', 'LC_ALL': 'C'}) as t:
        t.type('mend top -i 0.2\n')
        t.await_screen(lambda s: re.search(r'^  +[_.:=+*#-]{5,}$', s, re.M), 'a history in ASCII')
        assert '\033[' not in t.run('capture-pane', '-p', '-e').replace('\033[0m', '').replace('\033[39m', ''), 'a colour'
        t.press('q')
        t.await_screen(lambda s: re.search(r'^\$ *$', s, re.M), 'a prompt')
        t.type('clear; mend watch\n')
        t.await_screen(lambda s: len(re.findall(r'^\d\d:\d\d:\d\d\.\d{3}  127.* up$', s, re.M)) == 2, 'two lines of watch')
        t.press('C-c')
        t.await_screen(lambda s: s.rstrip().endswith('$'), 'a prompt')
        t.type('echo "code $?"\n')
        t.await_screen(lambda s: 'code 130' in s, 'code 130')


test_top_and_watch_without_colours_or_utf8.needs = needs_tmux


def test_watch_in_a_narrow_terminal():
    c, dead = Memcached(), nobody()
    with Terminal(c.name + ',' + dead) as t:
        t.type('clear; mend watch -i 50ms -w 200ms\n')
        t.await_screen(lambda s: re.search(r'%s +up$' % c.name, s, re.M), 'up')
        c.pause()
        t.await_screen(lambda s: re.search(r'%s +down  no answer to' % c.name, s, re.M) and 'all-down' in s, 'down')
        c.resume()
        screen = t.await_screen(lambda s: re.search(r'%s +back  after' % c.name, s, re.M), 'back')
        told = [line for line in screen.splitlines() if line and '$ ' not in line]
        assert all(re.match(r'\d\d:\d\d:\d\d\.\d{3}  127\.', line) for line in told), screen  # a line that wraps begins otherwise
    c.kill()


test_watch_in_a_narrow_terminal.needs = needs_tmux


def test_top_as_json():
    c = Memcached()
    mend('set', 'k', 'v', servers=c.name)
    p = Lines(['top', '-j', '-i', '0.1'], c.name + ',' + nobody())

    def until(fact, what):
        for _ in range(600):
            line = json.loads(p.next())
            if fact(line):
                return line
        raise AssertionError('no line with ' + what)

    until(lambda l: l['state'] == 'down', 'a server that is down')
    for _ in range(10):
        mend('get', 'k', 'none', servers=c.name)
    line = until(lambda l: l.get('hits', 0) > 0, 'hits')
    assert line['gets_s'] > 0 and line['hits'] < 1 and line['latency_ms'] > 0 and line['connections'] > 0 and line['items'] == 1, line
    assert p.interrupt() == -signal.SIGINT
    assert len(lines(mend('top', '-j', '-n', '2', '-i', '0.1', servers=c.name))) == 2
    c.kill()


# ---- bench -----------------------------------------------------------------------------------------------------


def test_bench():
    clean()
    r = mend('bench', '-j', '-n', '3000', '-k', '100', '-S', '50', '-P', path('bench.svg'), servers=both)
    result = lines(r)[0]
    assert r.code == 0 and r.err == b'', r
    assert result['gets']['calls'] + result['sets']['calls'] == 3000 and 1000 < result['sets']['calls'] < 2000, result
    assert result['hits'] == result['gets']['calls'] and result['misses'] == result['failed'] == 0, result
    for kind in (result['gets'], result['sets']):
        assert 0 < kind['p50_ms'] <= kind['p90_ms'] <= kind['p99_ms'] <= kind['p999_ms'] <= kind['slowest_ms'] * 1.01, kind
    assert mend('keys', servers=both).out == b''
    svg = open(path('bench.svg')).read()
    assert svg.startswith('<svg') and svg.endswith('</svg>\n') and 'calls a second' in svg and 'nan' not in svg, svg
    r = mend('bench', '-T', '300ms', '-m', '7', '-S', '0', '-p', '2', servers=both)
    assert r.code == 0 and b'gets of 7 keys' in r.out and b'p99.9' in r.out and b'failed 0' in r.out, r
    assert all(len(line) <= 80 for line in r.out.splitlines()), r
    is_error(mend('bench', '-z', '2000000', servers=both), 1, 'larger than the server stores')
    r = mend('bench', '-n', '10', '-P', '/nowhere/x.svg', servers=both)
    assert r.code == 2 and b'/nowhere/x.svg' in r.err, r


def test_bench_interrupted_tells_what_it_has_and_leaves_nothing():
    clean()
    p = subprocess.Popen([MEND, 'bench', '-j'], env=dict(ENV, MEND_SERVERS=both), stdout=subprocess.PIPE)
    await_fact(lambda: b'STAT get_hits 0\r\n' not in a.ask(b'stats\r\n', b'END\r\n'), 'a bench that has begun')
    await_fact(lambda: mend('keys', '-n', '1', servers=both).out, 'keys')
    p.send_signal(signal.SIGINT)
    out = p.communicate(timeout=PATIENCE_S)[0]
    assert p.returncode == -signal.SIGINT and json.loads(out)['gets']['calls'] >= 0, (p.returncode, out)
    assert mend('keys', servers=both).out == b''


# ---- What comes with it ------------------------------------------------------------------------------------------


def test_completion_knows_every_command_and_option():
    script = '. %s/cli/mend.bash; compopt() { :; }; COMP_WORDS=(%%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _mend; echo ${COMPREPLY[@]}' % SOURCE

    def complete(words):
        r = shell(script % words, both)
        assert r.err == b'', r
        return r.out.decode().split()

    assert sorted(complete('mend ""')) == sorted(COMMANDS + ['help'])
    assert complete('mend ge') == ['get']
    assert complete('mend --servers = x de') == ['delete', 'decr']
    assert complete('mend -j -s x pin') == ['ping']
    assert '--version' in complete('mend --')
    for name in COMMANDS:
        options = re.findall(r'^  -., (--[a-z]+)', mend(name, '--help').out.decode(), re.M)
        assert complete('mend %s --' % name) == options, name
    assert complete('mend get --distribution = ke') == ['ketama-weighted', 'ketama']
    assert complete('mend get -d mo') == ['modula']


def test_manual_knows_every_command_and_option():
    page = open(os.path.join(SOURCE, 'cli/mend.1')).read()
    described = set(re.findall(r'^\.It Cm ([a-z]+)', page, re.M))
    assert described == set(COMMANDS), described ^ set(COMMANDS)
    options = set(re.findall(r'^\.It Fl . , Fl Fl ([a-z]+)', page, re.M))
    said = {o for name in COMMANDS for o in re.findall(r'^  -., --([a-z]+)', mend(name, '--help').out.decode(), re.M)} | {'version'}
    assert options == said, options ^ said


# ---- TAP -----------------------------------------------------------------------------------------------------------


def main():
    only = sys.argv[3:]
    tests = [(name, test) for name, test in globals().items() if name.startswith('test_') and (not only or name in only)]
    failed = 0
    print('1..%d' % len(tests), flush=True)
    for number, (name, test) in enumerate(tests, 1):
        why = getattr(test, 'needs', lambda: None)()
        if why:
            print('not ok %d # SKIP %s: %s' % (number, name, why), flush=True)
            continue
        try:
            test()
            print('ok %d - %s' % (number, name), flush=True)
        except Exception:  # a test that fails must not keep the others from running
            failed += 1
            print('not ok %d - %s' % (number, name), flush=True)
            print(''.join('# ' + line + '\n' for line in traceback.format_exc().splitlines()), end='', flush=True)
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
