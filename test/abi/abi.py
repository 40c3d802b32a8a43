#!/usr/bin/env python3
"""abi.py - whether programs that were built against the last release still run with this library.

    test/abi/abi.py LIBRARY            compares it with libmend.so.0.abi, and says in words what broke
    test/abi/abi.py LIBRARY --write    this is a release: it becomes that file, and debian/libmend0.symbols

What is new is no break: functions, enumerators, and fields that take words from a struct's `reserved`. All else is
libabigail's to judge (abidw, abidiff). Each comparison first breaks the ABI in a few ways, and demands that it is told.
"""
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
RELEASED = os.path.join(ROOT, 'test/abi/libmend.so.0.abi')
SYMBOLS = os.path.join(ROOT, 'debian/libmend0.symbols')


def skip(why):
    print('abi.py: skipped:', why)
    sys.exit(77)


def dump(library, to):
    """What the public header declares, and the library exports: nothing of the inside, no places, no paths."""
    subprocess.run(['abidw', '--headers-dir', os.path.join(ROOT, 'include'), '--drop-private-types', '--exported-interfaces-only',
                    '--no-show-locs', '--no-comp-dir-path', '--no-corpus-path', '--no-elf-needed', '--no-architecture',
                    '--no-parameter-names', '--type-id-style', 'hash', '--out-file', to, library], check=True)


def functions(abi):
    return {f.get('name') for f in xml.parse(abi).iter('elf-symbol')}


def structs(abi):
    """name: (size, {field: (offset, type)}), of the public ones; `reserved` is none of the fields."""
    found = {}
    for struct in xml.parse(abi).iter('class-decl'):
        if struct.get('name', '').startswith('mend_') and struct.get('size-in-bits'):
            fields = {m.find('var-decl').get('name'): (m.get('layout-offset-in-bits'), m.find('var-decl').get('type-id'))
                      for m in struct.iter('data-member')}
            fields.pop('reserved', None)
            found[struct.get('name')] = struct.get('size-in-bits'), fields
    return found


def grown(old, new):
    """Those structs in which nothing has changed but that fields took words from `reserved`."""
    now = structs(new)
    return [name for name, (size, fields) in structs(old).items()
            if name in now and now[name][0] == size and fields != now[name][1] and fields.items() <= now[name][1].items()]


def breaks(old, new):
    """abidiff's report of what broke; empty if nothing did."""
    with tempfile.NamedTemporaryFile('w', suffix='.abignore') as known:
        for name in grown(old, new):
            known.write('[suppress_type]\ntype_kind = struct\nname = %s\n\n' % name)
        known.flush()
        run = subprocess.run(['abidiff', '--leaf-changes-only', '--no-added-syms', '--no-show-locs', '--show-bytes', '--suppressions', known.name, old, new],
                             stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode & 3:
        sys.exit('abi.py: abidiff failed:\n' + run.stdout)
    return run.stdout if run.returncode else ''


def doctored(text, pattern, by):
    text, count = re.subn(pattern, by, text, flags=re.S)
    assert count, pattern
    return text


def prove():
    """The release against others that differ from it: what broke must be told, and what is merely new must not."""
    with open(RELEASED) as file:
        text = file.read()
    config = r"(<class-decl name='mend_config' .*?<data-member access='public' layout-offset-in-bits=')(\d+)('>\s*<var-decl name='timeout_ms' type-id=')(\w+)'"
    reserved = r"(name='mend_tls' .*?)<data-member [^\n]*\n\s*<var-decl name='insecure_no_verification'[^\n]*\n\s*</data-member>"
    sins = {
        'a function is gone': doctored(text, r"mend_touch\b", 'mend_was_here'),
        'a field has moved': doctored(text, config, r"\g<1>64\3\4'"),
        'a field has another type': doctored(text, config, lambda m: m[1] + m[2] + m[3] + identity(text, 'int64_t') + "'"),
        'a struct has another size': doctored(text, r"(name='mend_reply' size-in-bits=')\d+", r'\g<1>640'),
        'an enumerator has another number': doctored(text, r"(name='MEND_STATE_UP' value=')\d+", r'\g<1>7'),
        'another soname': doctored(text, r"soname='libmend.so.0'", "soname='libmend.so.1'"),
    }
    virtues = {
        'nothing': text,
        'a function was added': doctored(doctored(text, r"\s*<elf-symbol name='mend_touch' [^\n]*", ''), r"<function-decl name='mend_touch' .*?</function-decl>", ''),
        'a field took a word from reserved': doctored(text, reserved, r'\1'),
    }
    for name, old in {**sins, **virtues}.items():
        with tempfile.NamedTemporaryFile('w', suffix='.abi') as file:
            file.write(old)
            file.flush()
            told = breaks(file.name, RELEASED)
        if bool(told) != (name in sins):
            sys.exit('abi.py: %s: %s\n%s' % ('is blind to' if name in sins else 'sees a break where there is none', name, told))


def identity(text, typedef):
    return re.search(r"<typedef-decl name='%s' [^>]*id='(\w+)'" % typedef, text)[1]


def write(new):
    shutil.copyfile(new, RELEASED)
    with open(os.path.join(ROOT, 'include/mend.h')) as header:
        version = re.search(r'#define MEND_VERSION "(.*)"', header.read())[1]
    with open(SYMBOLS) as file:
        lines = file.read().splitlines()
    since = dict(line.split()[0:2] for line in lines if line.startswith(' '))
    names = sorted(name + '@Base' for name in functions(new))
    with open(SYMBOLS, 'w') as file:
        file.write('\n'.join([line for line in lines if not line.startswith(' ')] + [' %s %s' % (n, since.get(n, version)) for n in names]) + '\n')
    print('abi.py: this library is what later ones are compared with:', ', '.join(os.path.relpath(p, ROOT) for p in (RELEASED, SYMBOLS)))


def main():
    library, writes = sys.argv[1], sys.argv[2:] == ['--write']
    if not shutil.which('abidiff'):
        skip('no abidiff here (abigail-tools)')
    if platform.machine() != 'x86_64':
        skip('libmend.so.0.abi is of x86_64')
    with tempfile.TemporaryDirectory() as tmp:
        new = os.path.join(tmp, 'new.abi')
        dump(library, new)
        if 'mend_config' not in structs(new):
            skip('the library has no debugging information that abidw can read')
        if writes:
            return write(new)
        prove()
        broken = breaks(RELEASED, new)
        if broken:
            print(broken)
            sys.exit('abi.py: programs that were built against the last release break with this library. Take it back; or, if it has to be, raise\n'
                     'soversion in src/meson.build, and then ./dev abi --write makes this the ABI to compare with.')
        news = sorted(functions(new) - functions(RELEASED)) + ['struct %s: fields' % name for name in grown(RELEASED, new)]
        print('abi.py: nothing broke%s' % (', and these are new: ' + ', '.join(news) if news else ''))


main()
