#!/usr/bin/env python3
"""test_pages.py - the pages say what the header says, and what they show compiles.

    test_pages.py SOURCE names        every public function has its line in mend(3)
    test_pages.py SOURCE lint         mandoc and man have nothing to say against the pages, which fit 80 columns
    test_pages.py SOURCE snippets     the C of the pages and of doc/MIGRATING.md compiles
    test_pages.py SOURCE migrating    doc/MIGRATING.md has every function and behaviour of libmemcached's headers

What can't be tested here is skipped, with 77, and the reason is printed.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

SOURCE = os.path.abspath(sys.argv[1])
PAGES = ['cli/mend.1', 'doc/mend.3', 'doc/mend_fetch.3']
LIBMEMCACHED = '/usr/include/libmemcached*-1.0'


def read(name):
    with open(os.path.join(SOURCE, name), encoding='utf-8') as file:
        return file.read()


def skip(why):
    print('skipped:', why)
    sys.exit(77)


def must_be_empty(what, found):
    if found:
        sys.exit(what + ':\n    ' + '\n    '.join(found))


def without_comments(c):
    return re.sub(r'/\*.*?\*/|//[^\n]*', ' ', c, flags=re.S)


def test_names():
    public = re.findall(r'^(?:MEND_API|static inline mend_bytes)\b[^(]*?\b(mend_\w+)\(', read('include/mend.h'), re.M)
    assert 'mend_str' in public and 'mend_fetch' in public and len(public) > 40, public
    listed = re.findall(r'^\.It\b.*\bFn (\w+)', read('doc/mend.3'), re.M)
    must_be_empty('public functions without a line in mend(3)', sorted(set(public) - set(listed)))
    must_be_empty('functions of mend(3) that mend.h does not have', sorted(set(listed) - set(public)))
    statuses = re.findall(r'^    (MEND_\w+) = -?\d+,? +/\*', re.search(r'typedef int mend_status;\nenum \{(.*?)\};', read('include/mend.h'), re.S)[1], re.M)
    assert 'MEND_E_LOADER' in statuses, statuses
    must_be_empty('statuses without a line in mend(3)', [s for s in statuses if '.It Dv %s\n' % s not in read('doc/mend.3')])
    fields = re.search(r'typedef struct mend_recipe \{(.*?)\} mend_recipe;', without_comments(read('include/mend.h')), re.S)[1]
    names = [name for line in fields.split(';') for name in re.findall(r'(\w+)(?:\[\d+\])?\s*$', line) if name != 'reserved']
    assert 'local_ttl_ms' in names, names
    tags = ' '.join(re.findall(r'^\.It Va (.*)', read('doc/mend_fetch.3'), re.M))
    must_be_empty('fields of mend_recipe without a line in mend_fetch(3)', [name for name in names if not re.search(r'\b%s\b' % name, tags)])


def test_lint():
    if not shutil.which('mandoc'):
        skip('no mandoc (mandoc)')
    env = dict(os.environ, LC_ALL='C.UTF-8', MANWIDTH='80', MANROFFSEQ='')
    for page in PAGES:
        path = os.path.join(SOURCE, page)
        said = subprocess.run(['mandoc', '-T', 'lint', '-W', 'style', path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env).stdout
        # Which pages there are beside these is the machine's affair.
        must_be_empty('mandoc on ' + page, [line for line in said.splitlines() if not re.search(r'mandoc\.db|referenced manual not found', line)])
        shown = subprocess.run(['mandoc', '-T', 'utf8', '-O', 'width=80', path], stdout=subprocess.PIPE, check=True, env=env).stdout.decode()
        lines = re.sub('.\b', '', shown).splitlines()
        assert len(lines) > 50, page
        must_be_empty(page + ' is wider than 80 columns', [line for line in lines if len(line) > 80])
        if shutil.which('man') and shutil.which('groff'):
            said = subprocess.run(['man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True, env=env).stderr
            must_be_empty('groff on ' + page, said.splitlines())
        else:
            print('no man-db and groff here: mandoc has looked at it alone')


def pages_programs():
    for page in PAGES:
        for block in re.findall(r'^\.Bd -literal.*?\n(.*?)^\.Ed', read(page), re.M | re.S):
            if block.startswith('#include'):
                yield page, block.replace('\\e', '\\')


def migrating_programs():
    """A block is a program, a function, or what stands in one."""
    for block in re.findall(r'^```c\n(.*?)^```', read('doc/MIGRATING.md'), re.M | re.S):
        if '#include' in block:
            yield 'doc/MIGRATING.md', block
        elif re.match(r'(static|int|void|enum|struct) ', block):
            yield 'doc/MIGRATING.md', '#include <mend.h>\n#include "migrating.h"\n' + block
        else:
            yield 'doc/MIGRATING.md', '#include <mend.h>\n#include "migrating.h"\nvoid snippet(void);\nvoid snippet(void)\n{\n' + block + '}\n'


def test_snippets():
    here = os.path.dirname(os.path.abspath(__file__))
    programs = list(pages_programs()) + list(migrating_programs())
    assert len(programs) > 5, len(programs)
    for where, program in programs:
        if 'libmemcached' in program and not glob.glob(LIBMEMCACHED):
            print('no libmemcached-dev here: a block of %s is left out' % where)
            continue
        compiled = subprocess.run([os.environ.get('CC', 'cc'), '-std=c11', '-Wall', '-Wextra', '-Werror', '-Wno-unused-function', '-fsyntax-only',
                                   '-I' + os.path.join(SOURCE, 'include'), '-I' + here, '-x', 'c', '-'],
                                  input=program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if compiled.returncode:
            sys.exit('%s has what does not compile:\n%s\n%s' % (where, program, compiled.stdout))


def test_migrating():
    headers = [path for path in glob.glob(LIBMEMCACHED + '/**/*.h', recursive=True) if 'hashkit' not in path]
    if not headers:
        skip('no libmemcached (libmemcached-dev)')
    functions, behaviors = set(), set()
    for path in headers:
        with open(path) as file:
            c = without_comments(file.read())
        functions |= set(re.findall(r'\b((?:lib)?memcached_\w+)\s*\(', c)) - {'memcached_return_t'}
        behaviors |= set(re.findall(r'\b(MEMCACHED_(?:BEHAVIOR|HASH|DISTRIBUTION)_\w+)\b', c))
    assert len(functions) > 120 and len(behaviors) > 50, (functions, behaviors)
    # The words in code quotes, in which * stands for the rest of a name.
    named = set(re.findall(r'\b(?:(?:lib)?memcached|MEMCACHED|BEHAVIOR|HASH|DISTRIBUTION)_[\w*]+', read('doc/MIGRATING.md')))
    patterns = [re.compile('(?:MEMCACHED_)?' + re.escape(name).replace(r'\*', r'\w*') + '$') for name in named]
    missing = [name for name in sorted(functions | behaviors) if not name.endswith('_MAX') and not any(p.match(name) for p in patterns)]
    must_be_empty('of libmemcached, and not in doc/MIGRATING.md', missing)
    exact = [name for name in named if re.match('(lib)?memcached_', name) and '*' not in name]
    must_be_empty('in doc/MIGRATING.md, and not of libmemcached', sorted(set(exact) - functions - {'memcached_st', 'memcached_result_st', 'memcached_return_t'}))


globals()['test_' + sys.argv[2]]()
print('ok')
