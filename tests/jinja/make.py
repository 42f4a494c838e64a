"""Writes what jinja2 makes of many small templates, with the settings of transformers: a text, or an error's name.

    pip install jinja2 && python make.py

Every filter, test and global of jinja2, every method of Python's str, list, tuple, dict, int and float, every operator, each on values of
every kind. Left out is what prints an address, a random text, a complex number, or more than one line by pprint.
"""
import copy
import json
from datetime import datetime
from itertools import product
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).parent
NOW = datetime(2025, 7, 4, 12, 30, 5)
VARIABLES = {"s": "Hello wörld", "e": "", "xs": [3, 1, 2], "ws": ["b", "A", "c"], "d": {"b": 1, "a": [True, None]}, "n": 7, "f": 2.5,
             "ms": [{"role": "user", "content": "hi", "n": 2}, {"role": "assistant", "content": "ho", "n": 1}], "t": True, "z": None,
             "long": "The quick brown fox jumps over the lazy dog, again and again.\nA second line.\n\n  indented"}


class Generation(jinja2.ext.Extension):
    """`{% generation %}` of transformers, without its tracking."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment(now=NOW):
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = now.strftime
    return made


VALUES = ["s", "e", "'a,b,,c'", "' x y  z '", "'ÄÖß'", "'+12.50'", "'-7'", "'0x1f'", "'<a href=\"x\">&</a>'", "xs", "ws", "[]", "ms", "d", "{}",
          "(1, 'a')", "()", "n", "0", "-3", "f", "-0.5", "1e16", "1e-5", "t", "false", "z", "missing", "range(5)", "d.items()", "long",
          "[[1, 2], [3]]", "10**20", "namespace(a=1)"]
FILTERS = ["abs", "attr('b')", "attr('upper')", "batch(2)|list", "batch(2, 'x')|list", "capitalize", "center(12)", "count", "d", "d('x', true)",
           "default('x')", "dictsort", "dictsort(true)", "dictsort(by='value')", "dictsort(reverse=true)", "e", "escape", "filesizeformat",
           "filesizeformat(true)", "first", "float", "float(1.5)", "forceescape", "format(1)", "groupby('role')", "indent", "indent(2, true)",
           "indent('> ', blank=true)", "int", "int(9)", "int(0, 16)", "items|list", "join", "join('-')", "join(', ', attribute='role')", "last",
           "length", "list", "lower", "map('upper')|list", "map(attribute='role')|list", "map(attribute='nope', default='?')|list", "max", "min",
           "max(attribute='n')", "pprint", "reject('odd')|list", "reject|list", "rejectattr('n', 'gt', 1)|list", "replace('o', '0')",
           "replace('', '-')", "replace('l', 'L', 1)", "reverse", "reverse|list", "round", "round(1)", "round(1, 'ceil')", "round(-1, 'floor')",
           "safe", "select('even')|list", "select|list", "selectattr('role', 'equalto', 'user')|list", "selectattr('role')|list", "slice(2)|list",
           "slice(2, 'x')|list", "sort", "sort(reverse=true)", "sort(case_sensitive=true)", "sort(attribute='n')", "string", "striptags", "sum",
           "sum(attribute='n')", "sum(start=10)", "title", "tojson", "tojson(indent=2)", "tojson(true)", "tojson(separators=(',', ':'))",
           "tojson(sort_keys=true)", "tojson(false, 4, (', ', ': '), true)", "tojson(indent='\t')", "trim", "trim('ax')", "truncate(9)",
           "truncate(9, true)", "truncate(9, true, '', 0)", "truncate(20, end='…')", "unique|list", "unique(true)|list", "upper", "urlencode",
           "wordcount", "wordwrap(20)", "xmlattr", "nothing"]
TESTS = ["boolean", "callable", "defined", "divisibleby(3)", "divisibleby 0", "eq(7)", "equalto 'x'", "escaped", "even", "false", "filter", "float",
         "ge(2)", "gt 2", "greaterthan('a')", "in([7, 'x'])", "in 'Hello wörld'", "integer", "iterable", "le(2)", "lower", "lt(2)", "lessthan(2)",
         "mapping", "ne(7)", "none", "number", "odd", "sameas(none)", "sameas true", "sequence", "string", "test", "true", "undefined", "upper",
         "nothing"]
METHODS = ["capitalize()", "casefold()", "center(15)", "center(14, '*')", "count('l')", "count('l', 3)", "endswith('ld')", "endswith(('x', 'd'))",
           "expandtabs()", "find('o')", "find('o', 5)", "find('zz')", "format(1, a=2)", "index('o')", "index('zz')", "isalnum()", "isalpha()",
           "isascii()", "isdecimal()", "isdigit()", "isidentifier()", "islower()", "isnumeric()", "isprintable()", "isspace()", "istitle()",
           "isupper()", "join(ws)", "join(xs)", "join('abc')", "ljust(14)", "ljust(14, '.')", "lower()", "lstrip()", "lstrip('He')",
           "partition(' ')", "partition('zz')", "removeprefix('Hel')", "removesuffix('ld')", "replace('l', 'L')", "replace('l', 'L', 1)",
           "replace('l')", "rfind('l')", "rindex('l')", "rjust(14)", "rpartition(' ')", "rpartition('zz')", "rsplit()", "rsplit(' ', 1)",
           "rsplit(None, 1)", "rsplit('l', maxsplit=1)", "rstrip()", "rstrip('dl')", "split()", "split(' ')", "split('l', 1)", "split(None, 1)",
           "split('')", "split(sep='l')", "split(1)", "splitlines()", "splitlines(true)", "startswith('He')", "startswith('l', 2)",
           "startswith(['x'])", "strip()", "strip('Hd')", "swapcase()", "title()", "upper()", "zfill(14)", "nothing()", "append(1)", "copy()",
           "count(1)", "index(1)", "index(9)", "extend([1])", "insert(0, 1)", "pop()", "remove(1)", "reverse()", "sort()", "get('b')", "get('x')",
           "get('x', 1)", "items()", "items()|list", "keys()", "keys()|list", "values()", "values()|list", "update({})", "clear()",
           "setdefault('x', 1)", "bit_length()", "is_integer()", "conjugate()", "__class__", "__len__()", "upper"]
OPERANDS = ["s", "'ab'", "xs", "[]", "(1,)", "d", "7", "-2", "0", "2.5", "true", "none", "missing", "'%s'", "'a%%%d'"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
SUBSCRIPTS = [".b", ".upper", "['b']", "[0]", "[-1]", "[9]", "[1:]", "[:-1]", "[::-1]", "[::0]", "[1:9:2]", ".b.c", ".nothing", "[none]",
              "[1, 2]", ".0", "[true]", ".items", "['items']()|list"]
FORMATS = ["'%d|%5d|%-5d|%05d|%+d' % (n, n, n, n, n)", "'%x %X %o %#x' % (255, 255, 8, 255)", "'%.2f %e %g %10.3f' % (f, f, f, f)", "'%s %r' % (s, s)",
           "'%5s|%-5s|%.2s' % ('ab', 'ab', 'abc')", "'%(a)s-%(b)d' % {'a': 1, 'b': 2}", "'%s' % d", "'%s' % xs", "'%d' % 'x'", "'%s %s' % 1", "'%s' % (1, 2)",
           "'%c%c' % (65, 'b')", "'%%' % ()", "'%*d' % (5, 3)", "'%q' % 1", "'%g' % 1e20", "'%g' % 0.0001", "'%g' % 100000", "'%g' % 1000000",
           "'%d' % 2.9", "'%i' % true", "'%5.1f|' % -2.25", "'%.0f' % 0.5", "'%.3d' % 5", "'% d' % 5", "'%s' % none", "'%s' % missing",
           "'{}, {}'.format(1, 'a')", "'{0}{1}{0}'.format(1, 2)", "'{a}'.format(a=f)", "'{:>5}|{:<5}|{:^5}'.format(1, 2, 3)", "'{:05.1f}'.format(f)",
           "'{:,}'.format(1234567)", "'{:_}'.format(1234567)", "'{:,.2f}'.format(1234567.891)", "'{!r:>8}'.format('a')", "'{0[b]}'.format(d)",
           "'{0.real}'.format(n)", "'{:x} {:#b} {:o}'.format(255, 5, 8)", "'{:%}'.format(0.256)", "'{:.1%}'.format(0.256)", "'{:e}'.format(12345.678)",
           "'{:g}'.format(1e-7)", "'{{}}'.format()", "'{'.format()", "'}'.format()", "'{} {0}'.format(1)", "'{2}'.format(1)", "'{x}'.format()",
           "'{:*^9}'.format('ab')", "'{:.2}'.format('abc')", "'{:d}'.format('a')", "'{:s}'.format(1)", "'{:+d}'.format(5)", "'{: }'.format(5)",
           "'{:10}|'.format('a')", "'{:10}|'.format(1)", "'{:{}}'.format('a', 5)", "'{:>{w}}'.format(1, w=4)", "'{:c}'.format(65)", "'{:.3}'.format(f)",
           "'{:.3}'.format(1234.5)", "'{}'.format(none)", "'{:5}'.format(none)", "'{}'.format(xs)", "'{:5}'.format(true)", "'{:08.3f}'.format(-2.5)",
           "'{a[0]}'.format(a=xs)", "'{}'.format(d.nope)", "'{a}{b}'.format_map({'a': 1, 'b': 2})", "'%s' | format(1)", "'%s-%s' | format('a', 2)",
           "'%(a)s' | format(a=3)", "'%d' | format('x')"]
FLOATS = ["1.0", "100.0", "1e15", "1e16", "1.5e300", "0.0001", "0.00001", "123456789.123456789", "-0.0", "0.1 + 0.2", "1/3", "2**0.5", "1e22", "1e100 * 1e300",
          "7 // 2", "-7 // 2", "7 // -2", "-7 % 3", "7 % -3", "7.5 // 2", "-7.5 % 2", "2 ** 10", "2 ** -1", "2 ** 3 ** 2", "10 / 2", "7 / 0", "7 // 0", "7 % 0",
          "1_000", "0x1F + 0b11 + 0o7", "1.5e3", "1 == 1.0", "true + true", "-2 ** 2", "-n | abs", "(-n) | abs", "1 < 2 < 3", "1 < 3 < 2", "'a' ~ 1 ~ none ~ 1.5",
          "1 + 2 ~ 3", "not 1 == 2", "1 if 0", "1 if 1 else 2", "n is odd and f is float", "[1, 2] + [3]", "(1, 2) + (3,)", "'a' 'b'", "'a\\n\\t\\x41\\u00e9\\\\'",
          "\"it's\"", "['it\\'s', \"a\\\"b\", 'é\\n']", "{'a': {'b': [1, (2,)]}}", "{1: 2, true: 3, 1.0: 4}", "[none, true, 1.0, 'x', missing]", "{[]: 1}",
          "xs | sort | first", "ms[0].content", "ms[-1]['role']", "loop", "varargs", "(xs)", "xs if xs else 1", "'%s' % 5 ~ 'x'", "none is iterable",
          "missing | length", "s is sequence", "d is sequence", "'Hello' in s", "'b' in d", "3 in xs", "missing in xs", "'x' in missing", "1 in none",
          "xs is sameas xs", "[1] is sameas [1]", "missing is sameas missing", "dict(a=1, b='x')", "dict([('a', 1)])", "dict(d, c=2)", "dict(1)",
          "range(3)", "range(1, 7, 2) | list", "range(5, 0, -2) | list", "range(3)[1]", "range(3) | length", "range(0)", "range(1, 2, 0)", "range(10**6)",
          "range('a')", "cycler('a', 'b').next()", "cycler()", "joiner()", "joiner('|')()", "namespace()", "namespace(a=1, b='x')", "namespace({'a': 1}).a",
          "namespace(1)", "strftime_now('%d %b %Y')", "strftime_now('%Y-%m-%dT%H:%M:%S %A %B %a %j %y %I %p %e %F %T %%')",
          "strftime_now('%-d %-m %-H %-I %-M %D %R %u %w %C %h %n%t %U %W %V %G %c %x %X %l %k %s|')", "strftime_now('%Z%z|%f')", "strftime_now()", "strftime_now(1)",
          "raise_exception('no')", "nothing()", "s()", "none()", "1()", "s.x.y", "none.x", "none.x.y", "missing.x", "missing['x']", "missing()", "missing + 1",
          "1 + missing", "missing < 1", "missing == 1", "missing == missing2", "missing ~ 'x'", "[missing]", "missing | upper", "missing | list", "missing | int",
          "missing | float", "missing | string", "missing | tojson", "-missing", "not missing", "missing[1:]", "missing is defined", "missing is none",
          "missing.a is defined", "d.x is defined", "d.x.y is defined", "d['x'] | default('?')", "xs[9] | default('?')", "xs | map('nothing') | list", "xs.0", "d.b",
          "d.items", "d.get('a')[0]", "ms | map(attribute='content') | join(' / ')", "ms | selectattr('role', 'in', ['user']) | list | length",
          "ms | groupby('role') | map('first') | list", "ms | sort(attribute='n,role') | map(attribute='n') | list", "d | items | list", "xs | items",
          "d | dictsort | map('last') | list", "{'a': 1}.items() | list", "{'a': 1} | length", "{'a': 1}['a']", "'a' * 3", "3 * [1, 2]", "[] * 5", "'x' * -1",
          "'ab' * 2.0", "'a' < 'b'", "[1, 2] < [1, 3]", "(1, 2) == [1, 2]", "'a' < 1", "none < 1", "d < d", "true < 2", "1 <= 1.0", "'abc'[1]", "'abc'[-5]",
          "'abc'[1:2]", "'äöü'[::-1]", "(1, 2, 3)[1:]", "range(9)[2:8:3] | list", "s | length", "n | length", "none | length", "'a\\rb\\nc' | indent", "'' | first",
          "[] | last", "[] | max", "[] | sum", "['a'] | sum", "none | first", "none | list", "none | join", "none | map('upper') | list", "none | select | list",
          "none | default('x')", "none | default('x', true)", "none | trim", "none | upper", "none | replace('N', 'M')", "1 | replace(1, 2)", "true | string",
          "1.0 | string", "1.0 | int", "'1.9' | int", "'x' | int", "'x' | float", "none | int", "[] | int", "'1e3' | float", "'inf' | float", "'nan' | float",
          "' 5 ' | int", "'1_0' | int", "2.5 | round", "3.5 | round", "2.675 | round(2)", "1234 | round(-2)", "5 | round", "'x' | round", "f | round(method='x')",
          "'a' | center", "'a' | center(4) ~ '|'", "'ab' | batch(1) | list", "xs | batch(0) | list", "xs | slice(0) | list", "xs | first.x", "xs | length + 1",
          "xs | join(1)", "[1, [2, 3]] | tojson", "{'a': none, 2: 1.0, true: 'x'} | tojson", "(1, 2) | tojson", "range(2) | tojson", "d.items() | tojson",
          "'\\u2028<>&\\'' | tojson", "'é' | tojson(ensure_ascii=true)", "'🙂' | tojson(true)", "[] | tojson(indent=2)", "{} | tojson(indent=2)",
          "{'a': []} | tojson(indent=2)", "d | tojson(indent=0)", "d | tojson(indent=-1)", "1e400 | tojson", "d | tojson(separators=[','])", "d | tojson(nope=1)",
          "{'b': 1, 'a': 2, 1: 3} | tojson(sort_keys=true)"]
TEMPLATES = [
    "{% for i in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for i in xs %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}", "{% for i in none %}{% endfor %}", "{% for i in missing %}x{% else %}e{% endfor %}", "{% for i in 5 %}{% endfor %}",
    "{% for c in 'aé' %}[{{ c }}]{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for i in xs if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for x in [[1, [2]], [3]] recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}",
    "{% set x = 1 %}{% for i in xs %}{% set x = i %}{% endfor %}{{ x }}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% for i in xs %}{{ x }}{% set x = i %}{% endfor %}", "{% set ns = namespace(x=1) %}{% for i in xs %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }} {{ ns }}",
    "{% set d.x = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set (a, b) = [3, 4] %}{{ a }}{{ b }}", "{% set a, b = 1 %}",
    "{% set x %}a{{ n }}b{% endset %}{{ x }}{{ x | length }}", "{% set x | upper | trim %} ab {% endset %}[{{ x }}]", "{% with a=1, b=n %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with %}{% set q = 1 %}{% endwith %}{{ q }}", "{% filter upper %}ab{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}aa{% endfilter %}",
    "{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(b=5, a=4) }} {{ f() }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, c=2) }}", "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, c=3) }}",
    "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}in{% endcall %}", "{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) f() %}{{ a }}+{{ b }}{% endcall %}",
    "{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}", "{% macro f() %}x{% endmacro %}{% call f() %}in{% endcall %}",
    "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro f(a, b=a) %}{{ b }}{% endmacro %}[{{ f(1) }}]",
    "{% set x = 1 %}{% macro f() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ f() }}", "{% macro f() %}{{ s }}{% endmacro %}{{ f() | upper }}{{ f.name }}{{ f.arguments }}",
    "{% macro f(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ f(1) }}{{ y }}", "{% macro f(*a) %}{% endmacro %}", "{{ f(1) }}{% macro f(a) %}{{ a }}{% endmacro %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}",
    "{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b{{ j() }}", "{% if xs %}a{% elif n %}b{% else %}c{% endif %}", "{% if not xs %}a{% elif n %}b{% else %}c{% endif %}",
    "{% if missing %}a{% endif %}b", "{% if missing.x %}a{% endif %}", "{% block a %}x{% endblock %}", "{% raw %}{{ x }}{% endraw %}", "{%- raw -%} {{ x }} {%- endraw -%} y",
    "  {% if true %}\n  a\n  {% endif %}\n b", "a {%- if true -%} b {%- endif -%} c", "a\n\n  {%- if true %}\n\nb{% endif %}\n", "{{ 1 }}\n{{ 2 }}\n\n", "a\r\nb\rc\n",
    "  {%+ if true %}a{% endif +%}\nb", "{# c #}\na", "  {# c #}\na", "a {#- c -#} b", "{{- 1 -}} \n x", "x\n   {{ 1 }}", "x\n   {{- 1 }}", "{% if true %}\n\n{% endif %}\nx",
    "{% set x = 1 %}\n  {% set y = 2 %}\n{{ x }}{{ y }}", "a{% if true %} {% endif %}b", "\t{% if true %}\tx{% endif %}", "{{ {'a': {'b': 1}} }}", "{{ '}}' }}{{ '%}' }}",
    "{% print 1, 2 %}", "{% do 1 %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% autoescape false %}{{ '<' }}{% endautoescape %}",
    "a{% generation %}b{%- endgeneration -%} c", "{% generation %}\n{{ n }}\n{% endgeneration %}\n", "{% if %}", "{% if true %}", "{% endif %}", "{{", "{{ 1", "{%", "{#", "{{ }}",
    "{{ 1 2 }}", "{{ a b }}", "{% for %}{% endfor %}", "{% nothing %}", "{{ 'a }}", "{{ (1 }}", "{{ 1) }}", "{{ [1 }}", "{{ a | }}", "{{ a is }}", "{{ a. }}", "{{ a[ }}", "{{ @ }}", "{{ a = 1 }}",
    "{{ 1 +}}", "{% set 1 = 2 %}", "{% set x %}", "{% macro f %}{% endmacro %}", "{% macro f(a=1, b) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{{ f(**d, 1) }}", "{% for i in xs %}{{ i }}{% endif %}",
    "{% break %}", "{{ s.upper().lower().title() }}", "{{ s | upper | lower }}", "{{ xs | map('string') | map('upper') | join }}", "{{ d.a[0] }}{{ d['a'][1] }}", "{{ dict(**d) }}",
    "{{ [*xs] }}", "{{ '<' | safe + '<' + 1 | string }}", "{{ 'a' + '<b>' | safe + '>' }}", "{{ ('<' | safe) ~ '<' }}", "{{ ('<' | e) + '<' }}", "{{ '<' | e | e }}",
    "{{ '<' | safe is escaped }}{{ '<' is escaped }}", "{{ 'a' | safe + 1 }}", "{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'a': 3, 'b': 4}) }}", "{% set ns = namespace() %}{% set ns.a = [1] %}{% set ns.b = ns.a + [2] %}{{ ns.b }}",
    "{% set xs2 = xs + [9] %}{{ xs }}{{ xs2 }}", "{% set _ = xs.append(1) %}", "{{ xs.append }}", "{{ xs.append is defined }}", "{{ s.__class__ }}", "{{ ''.__class__.__mro__ }}",
    "{{ (1, 2)[0] }}{{ (1,) }}{{ () }}", "{{ 1 if true else 2 if false else 3 }}", "{{ 'a' if false }}|", "{{ ('a' if false) is defined }}", "{{ not true or true }}", "{{ 1 or 2 and 3 }}",
    "{{ none or 'x' }}{{ '' and 'y' }}|", "{{ 5 is divisibleby 5 and true }}", "{{ 5 is not odd }}", "{{ 5 is eq 5 is true }}", "{{ 'x' is in ['x'] }}", "{{ 1 not in xs }}", "{{ not 1 in xs }}",
    "{% for i in xs | sort %}{{ i }}{% endfor %}", "{% for m in ms if m.role == 'user' %}{{ m.content }}{% endfor %}", "{% for m in ms %}{% for c in m.content %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for i in xs %}{% if loop.last %}{{ i }}{% endif %}{% endfor %}", "{% for i in range(3) %}{% for j in range(3) %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}",
    "{% set x = namespace(v=none) %}{% if x.v is none %}{% set x.v = 'a' %}{% endif %}{{ x.v }}", "{{ x.v }}{% set x = namespace(v=1) %}", "{% set ns = namespace(a=1) %}{{ ns.b is defined }}{{ ns['a'] }}",
    "{{ loop is defined }}{% for i in [1] %}{{ loop is defined }}{% endfor %}", "{% for i in d.values() %}{{ i }}{% endfor %}", "{% for k, v in d | dictsort %}{{ k }}{% endfor %}",
    "{% for k, v in d | items %}{{ k }}{% endfor %}", "{% set g = xs | map('string') %}{{ g | list }}{{ g | list }}", "{{ (xs | map('string')) | first }}", "{{ xs | select | length }}",
    "{{ (xs | select)[0] }}", "{{ (xs | map('string')) is sequence }}{{ (xs | map('string')) is iterable }}", "{% if xs | select('gt', 9) %}t{% endif %}",
]


def sources():
    for value, name in product(VALUES, FILTERS):
        yield f"{{{{ ({value}) | {name} }}}}"
    for value, name in product(VALUES, TESTS):
        yield f"{{{{ ({value}) is {name} }}}}"
    for value, name in product(["s", "e", "' x\\ty '", "'{} {a}'", "xs", "(1, 'a')", "d", "n", "f", "z", "range(3)", "missing", "long"], METHODS):
        yield f"{{{{ ({value}).{name} }}}}"
    for a, operator, b in product(OPERANDS, OPERATORS, OPERANDS):
        yield f"{{{{ ({a}) {operator} ({b}) }}}}"
    for value, name in product(["s", "xs", "d", "(1, 'a')", "n", "z", "missing", "range(5)", "'ab'", "ms"], SUBSCRIPTS):
        yield f"{{{{ ({value}){name} }}}}"
    for expression in FORMATS + FLOATS:
        yield f"{{{{ {expression} }}}}"
    yield from TEMPLATES


def outcome(env, source):
    try:
        return {"text": env.from_string(source).render(**copy.deepcopy(VARIABLES))}
    except Exception as error:
        return {"error": type(error).__name__}


def is_left_out(source, text):
    return " at 0x" in text or text.endswith("j)") or ("pprint" in source and "\n" in text)


def main():
    env = environment()
    cases = [[source, outcome(env, source)] for source in dict.fromkeys(sources())]
    cases = [case for case in cases if not is_left_out(case[0], case[1].get("text", ""))]
    lines = ",\n".join(json.dumps([source, *([it["text"]] if "text" in it else [None, it["error"]])], ensure_ascii=False) for source, it in cases)
    versions = {"jinja2": jinja2.__version__, "now": NOW.isoformat()}
    (HERE / "cases.json").write_text(f'{{"versions": {json.dumps(versions)},\n"variables": {json.dumps(json.dumps(VARIABLES, ensure_ascii=False), ensure_ascii=False)},\n"cases": [\n{lines}\n]}}\n')
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
