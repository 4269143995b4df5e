"""Go's text/template, as far as Helm charts use it: parser and evaluator. Functions come from `functions`.

Errors carry Go's wording: `template: chart/templates/x.yaml:6:21: executing "..." at <...>: ...`.
Source: text/template of Go 1.24 and helm v3.19 pkg/engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Func = Callable[..., Any]


class TemplateError(Exception):
    """A template that does not parse or execute; the message is Go's."""


class FailError(Exception):
    """`fail` or `required` in a template: the message alone."""


class FunctionError(Exception):
    """A function that refuses its arguments."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the tree. `kind` says what `value`, `parts`, `body` and `other` mean; `pos` is the offset in the file."""

    kind: str
    pos: int
    value: Any = None
    parts: tuple[Any, ...] = ()
    body: tuple[Node, ...] = ()
    other: tuple[Node, ...] = ()


@dataclass(slots=True)
class Template:
    """A parsed file: its own body, and the templates that it defines."""

    name: str
    text: str
    body: tuple[Node, ...]
    defines: dict[str, tuple[Node, ...]] = field(default_factory=dict)


_ACTION = re.compile(r"\{\{(-(?=\s))?")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<comment>/\*.*?\*/)
    | (?P<string>"(?:\\.|[^"\\\n])*")
    | (?P<raw>`[^`]*`)
    | (?P<char>'(?:\\.|[^'\\])+')
    | (?P<number>[-+]?(?:0x[0-9a-fA-F]+|\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+|\d+(?:[eE][-+]?\d+)?))
    | (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
    | (?P<var>\$[A-Za-z0-9_]*)
    | (?P<dot>\.)
    | (?P<ident>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<declare>:=)
    | (?P<op>[|(),=])
    )""",
    re.X | re.S,
)
_KEYWORDS = ("if", "range", "with", "define", "template", "block", "end", "else", "break", "continue")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def unquote(text: str) -> str:
    """A Go interpreted string literal's value."""
    return re.sub(
        r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))",
        lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else _ESCAPES.get(m[3], m[3]),
        text[1:-1],
    )


@dataclass(frozen=True, slots=True)
class _Tok:
    kind: str
    text: str
    pos: int
    spaced: bool  # blanks stood before it


class _Parser:
    """Recursive descent over the file's actions."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.items = self._split()
        self.at = 0
        self.defines: dict[str, tuple[Node, ...]] = {}

    def fail(self, pos: int, message: str) -> TemplateError:
        line = self.text.count("\n", 0, pos) + 1
        return TemplateError(f"template: {self.name}:{line}: {message}")

    def _split(self) -> list[tuple[str, int, Any]]:
        """("text", pos, str) and ("action", pos, [tokens]) in order, with the trim markers applied."""
        items: list[tuple[str, int, Any]] = []
        pos, trim = 0, False
        while True:
            match = _ACTION.search(self.text, pos)
            plain = self.text[pos : match.start() if match else len(self.text)]
            if trim:
                plain = plain.lstrip(" \t\r\n")
            if match and match[1]:
                plain = plain.rstrip(" \t\r\n")
            if plain:
                items.append(("text", pos, plain))
            if not match:
                return items
            tokens, pos, trim = self._tokens(match.end(), match.start())
            if tokens:
                items.append(("action", match.start(), tokens))

    def _tokens(self, pos: int, start: int) -> tuple[list[_Tok], int, bool]:
        tokens: list[_Tok] = []
        while True:
            blank = re.compile(r"\s*").match(self.text, pos)
            after = blank.end() if blank else pos
            if self.text.startswith("}}", after):
                return tokens, after + 2, False
            if after > pos and self.text.startswith("-}}", after):
                return tokens, after + 3, True
            if self.text.startswith("-}}", after) and tokens == []:
                return tokens, after + 3, True
            match = _TOKEN.match(self.text, pos)
            if not match:
                raise self.fail(start, "unclosed action" if after >= len(self.text) else f"unexpected {self.text[after : after + 1]!r} in command")
            kind = match.lastgroup or ""
            if kind != "comment":
                tokens.append(_Tok(kind, match[kind], match.start(kind), match.start(kind) > pos))
            pos = match.end()

    def parse(self) -> Template:
        body, end = self._body(())
        if end:
            raise self.fail(end[1], f"unexpected {{{{{end[0]}}}}}")
        return Template(self.name, self.text, body, self.defines)

    def _body(self, stops: Sequence[str]) -> tuple[tuple[Node, ...], tuple[str, int, list[_Tok]] | None]:
        nodes: list[Node] = []
        while self.at < len(self.items):
            kind, pos, value = self.items[self.at]
            self.at += 1
            if kind == "text":
                nodes.append(Node("text", pos, value))
                continue
            head: _Tok = value[0]
            word = head.text if head.kind == "ident" and head.text in _KEYWORDS else ""
            if word in ("end", "else"):
                if not stops:
                    raise self.fail(pos, f"unexpected {{{{{word}}}}}")
                return tuple(nodes), (word, pos, value[1:])
            nodes.append(self._action(word, pos, value))
        if stops:
            raise self.fail(len(self.text), "unexpected EOF")
        return tuple(nodes), None

    def _action(self, word: str, pos: int, toks: list[_Tok]) -> Node:
        if word in ("if", "with", "range"):
            return self._control(word, pos, toks[1:])
        if word in ("define", "block"):
            name = self._string(toks[1], pos)
            body, _ = self._body(("end",))
            self.defines[name] = body
            if word == "define":
                return Node("text", pos, "")
            return Node("template", pos, name, parts=(self._pipeline(toks[2:], pos),))
        if word == "template":
            pipe = self._pipeline(toks[2:], pos) if len(toks) > 2 else None
            return Node("template", pos, self._string(toks[1], pos), parts=(pipe,))
        if word in ("break", "continue"):
            return Node(word, pos)
        return Node("action", pos, parts=(self._pipeline(toks, pos),))

    def _control(self, word: str, pos: int, toks: list[_Tok]) -> Node:
        pipe = self._pipeline(toks, pos)
        body, stop = self._body(("end", "else"))
        other: tuple[Node, ...] = ()
        if stop and stop[0] == "else":
            if stop[2]:
                other = (self._control(stop[2][0].text, stop[1], stop[2][1:]),)
            else:
                other, _ = self._body(("end",))
        return Node(word, pos, parts=(pipe,), body=body, other=other)

    def _string(self, tok: _Tok, pos: int) -> str:
        if tok.kind == "string":
            return unquote(tok.text)
        if tok.kind == "raw":
            return tok.text[1:-1]
        raise self.fail(pos, f"unexpected {tok.text!r} in template clause")

    def _pipeline(self, toks: list[_Tok], pos: int) -> Node:
        """Node("pipe", value=(op, names), parts=commands): op is "", ":=" or "="."""
        names: list[str] = []
        op = ""
        for i, tok in enumerate(toks):
            if tok.kind == "declare" or (tok.kind == "op" and tok.text == "="):
                names = [t.text for t in toks[:i] if t.kind == "var"]
                op, toks = tok.text, toks[i + 1 :]
                break
            if tok.kind not in ("var",) and tok.text != ",":
                break
        if not toks:
            raise self.fail(pos, "missing value for command")
        commands, rest = self._commands(toks, pos)
        if rest:
            raise self.fail(pos, f"unexpected {rest[0].text!r} in command")
        return Node("pipe", toks[0].pos, (op, tuple(names)), parts=tuple(commands))

    def _commands(self, toks: list[_Tok], pos: int) -> tuple[list[Node], list[_Tok]]:
        commands: list[Node] = []
        operands: list[Node] = []
        start = toks[0].pos
        while toks and toks[0].text != ")":
            if toks[0].text == "|" and toks[0].kind == "op":
                if not operands:
                    raise self.fail(pos, "missing value for command")
                commands.append(Node("command", start, parts=tuple(operands)))
                operands, toks = [], toks[1:]
                start = toks[0].pos if toks else start
                continue
            operand, toks = self._operand(toks, pos)
            operands.append(operand)
        if not operands:
            raise self.fail(pos, "missing value for command")
        commands.append(Node("command", start, parts=tuple(operands)))
        return commands, toks

    def _operand(self, toks: list[_Tok], pos: int) -> tuple[Node, list[_Tok]]:
        tok, toks = toks[0], toks[1:]
        node: Node
        if tok.text == "(" and tok.kind == "op":
            commands, toks = self._commands(toks, pos)
            if not toks:
                raise self.fail(pos, "unclosed left paren")
            node, toks = Node("paren", tok.pos, parts=(Node("pipe", tok.pos, ("", ()), parts=tuple(commands)),)), toks[1:]
        elif tok.kind in ("string", "raw"):
            node = Node("const", tok.pos, self._string(tok, pos))
        elif tok.kind == "char":
            node = Node("const", tok.pos, ord(unquote(tok.text)))
        elif tok.kind == "number":
            node = Node("const", tok.pos, _number(tok.text))
        elif tok.kind == "ident" and tok.text in ("true", "false", "nil"):
            node = Node("const", tok.pos, {"true": True, "false": False, "nil": None}[tok.text])
        elif tok.kind == "ident":
            node = Node("ident", tok.pos, tok.text)
        elif tok.kind == "var":
            node = Node("var", tok.pos, tok.text)
        elif tok.kind == "dot":
            node = Node("dot", tok.pos)
        elif tok.kind == "field":
            node = Node("chain", tok.pos, parts=(Node("dot", tok.pos), tok.text[1:]))
        else:
            raise self.fail(pos, f"unexpected {tok.text!r} in operand")
        while toks and toks[0].kind == "field" and not toks[0].spaced:
            where = toks[0].pos if tok.kind == "field" and len(node.parts) == 2 else node.pos
            head = node.parts if node.kind == "chain" else (node,)
            node = Node("chain", where, parts=(*head, toks[0].text[1:]))
            toks = toks[1:]
        return node, toks


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        return float(text) if not re.fullmatch(r"[-+]?0\d+", text) else int(text, 8)


def parse(name: str, text: str) -> Template:
    """Parse one file. Raises TemplateError."""
    return _Parser(name, text).parse()


def truth(value: Any) -> bool:
    """Go's idea of truth: zero values and empty collections are false."""
    return bool(value) if not isinstance(value, Template) else True


def text_of(value: Any) -> str:
    """A value as Go's fmt prints it with %v."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{text_of(k)}:{inner_text(value[k])}" for k in sorted(value, key=str)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(inner_text(v) for v in value) + "]"
    return str(value)


def inner_text(value: Any) -> str:
    """As `text_of`, inside a map or list."""
    return "<nil>" if value is None else text_of(value)


def go_float(value: float) -> str:
    """A float64 as %v prints it: 3 for 3.0, exponents from 1e+21 on."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].zfill(2)}" if exponent else mantissa


class Executor:
    """Runs parsed templates with a set of functions. One per rendering."""

    def __init__(self, templates: Mapping[str, Template], functions: Mapping[str, Func]) -> None:
        self.templates = dict(templates)
        self.named: dict[str, tuple[Template, tuple[Node, ...]]] = {}
        for template in templates.values():
            for name, body in template.defines.items():
                self.named[name] = (template, body)
        for name, template in templates.items():
            self.named.setdefault(name, (template, template.body))
        self.functions: dict[str, Func] = {**functions, "include": self._include, "tpl": self._tpl}
        self._depth = 0

    def run(self, name: str, data: Any) -> str:
        """The output of one file. Raises TemplateError, FailError."""
        template = self.templates[name]
        return self._exec(name, template, template.body, data)

    def _include(self, name: str, data: Any = None) -> str:
        if name not in self.named:
            raise FunctionError(f'error calling include: template: no template "{name}" associated with template "gotpl"')
        template, body = self.named[name]
        return self._exec(name, template, body, data)

    def _tpl(self, text: str, data: Any) -> str:
        template = parse("gotpl", text)
        for name, body in template.defines.items():
            self.named[name] = (template, body)
        return self._exec("gotpl", template, template.body, data)

    def _exec(self, name: str, template: Template, body: tuple[Node, ...], data: Any) -> str:
        self._depth += 1
        if self._depth > 100:
            raise TemplateError(f'rendering template has a nested reference name: {name}: unable to nest further')
        try:
            out: list[str] = []
            _Frame(self, name, template, out, [{"$": data}]).walk(body, data)
            return "".join(out)
        finally:
            self._depth -= 1


class _Frame:
    """The execution of one template body: its variables and output."""

    def __init__(self, owner: Executor, name: str, template: Template, out: list[str], scopes: list[dict[str, Any]]) -> None:
        self.owner, self.name, self.template, self.out, self.scopes = owner, name, template, out, scopes

    def error(self, node: Node, message: str) -> TemplateError:
        text = self.template.text
        line = text.count("\n", 0, node.pos) + 1
        column = node.pos - (text.rfind("\n", 0, node.pos) + 1)
        snippet = describe(node)
        shown = snippet if len(snippet) <= 20 else snippet[:20] + "..."
        return TemplateError(
            f'template: {self.template.name}:{line}:{column}: executing "{self.name}" at <{shown}>: {message}'
        )

    def place(self, node: Node) -> str:
        text = self.template.text
        return f"{self.template.name}:{text.count(chr(10), 0, node.pos) + 1}:{node.pos - (text.rfind(chr(10), 0, node.pos) + 1)}"

    def walk(self, nodes: tuple[Node, ...], dot: Any) -> None:
        for node in nodes:
            if node.kind == "text":
                self.out.append(node.value)
            elif node.kind == "action":
                value = self.pipe(node.parts[0], dot)
                if not node.parts[0].value[0]:
                    self.out.append(text_of(value))
            elif node.kind in ("if", "with"):
                self.branch(node, dot)
            elif node.kind == "range":
                self.loop(node, dot)
            elif node.kind == "template":
                data = self.pipe(node.parts[0], dot) if node.parts[0] else None
                if node.value not in self.owner.named:
                    raise self.error(node, f'template "{node.value}" not defined')
                template, body = self.owner.named[node.value]
                self.out.append(self.owner._exec(node.value, template, body, data))
            elif node.kind == "break":
                raise _Break
            elif node.kind == "continue":
                raise _Continue

    def branch(self, node: Node, dot: Any) -> None:
        self.scopes.append({})
        value = self.pipe(node.parts[0], dot)
        if truth(value):
            self.walk(node.body, value if node.kind == "with" else dot)
        else:
            self.walk(node.other, dot)
        self.scopes.pop()

    def loop(self, node: Node, dot: Any) -> None:
        self.scopes.append({})
        pipe = node.parts[0]
        names = pipe.value[1]
        value = self.pipe(Node("pipe", pipe.pos, ("", ()), parts=pipe.parts), dot)
        if value is None:
            pairs: list[tuple[Any, Any]] = []
        elif isinstance(value, Mapping):
            pairs = [(k, value[k]) for k in sorted(value, key=str)]
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = [(i, i) for i in range(value)]
        elif isinstance(value, list | tuple):
            pairs = list(enumerate(value))
        else:
            raise self.error(pipe, f"range can't iterate over {text_of(value)}")
        for key, item in pairs:
            self.scopes.append(dict(zip(names, (item,) if len(names) == 1 else (key, item), strict=False)))
            try:
                self.walk(node.body, item)
            except _Continue:
                continue
            except _Break:
                break
            finally:
                self.scopes.pop()
        if not pairs:
            self.walk(node.other, dot)
        self.scopes.pop()

    def pipe(self, node: Node, dot: Any) -> Any:
        value: Any = None
        for i, command in enumerate(node.parts):
            value = self.command(command, dot, (value,) if i else ())
        op, names = node.value
        if op == ":=":
            self.scopes[-1][names[0]] = value
        elif op == "=":
            scope = next((s for s in reversed(self.scopes) if names[0] in s), self.scopes[-1])
            scope[names[0]] = value
        return value

    def command(self, node: Node, dot: Any, extra: tuple[Any, ...]) -> Any:
        head = node.parts[0]
        if head.kind == "ident":
            return self.call(head, node.parts[1:], dot, extra)
        value = self.value(head, dot)
        if callable(value):
            args = [self.value(p, dot) for p in node.parts[1:]]
            return value(*args, *extra)
        if len(node.parts) > 1 or extra:
            raise self.error(head, f"can't give argument to non-function {describe(head)}")
        return value

    def call(self, head: Node, rest: tuple[Node, ...], dot: Any, extra: tuple[Any, ...]) -> Any:
        name = head.value
        if name in ("and", "or"):
            return self.short(name, rest, dot, extra)
        function = self.owner.functions.get(name)
        if function is None:
            line = self.template.text.count("\n", 0, head.pos) + 1
            raise TemplateError(f'template: {self.template.name}:{line}: function "{name}" not defined')
        args = [self.value(p, dot) for p in rest]
        try:
            return function(*args, *extra)
        except FailError as error:
            raise TemplateError(f"execution error at ({self.place(head)}): {error}") from error
        except TemplateError as error:
            if name in ("include", "tpl") and not str(error).startswith("execution error"):
                raise self.error(head, f"error calling {name}: {error}") from error
            raise
        except FunctionError as error:
            raise self.error(head, str(error) if str(error).startswith("error calling") else f"error calling {name}: {error}") from error
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            raise self.error(head, f"error calling {name}: {error}") from error

    def short(self, name: str, rest: tuple[Node, ...], dot: Any, extra: tuple[Any, ...]) -> Any:
        value: Any = None
        for part in (*rest, *extra):
            value = self.value(part, dot) if isinstance(part, Node) else part
            if truth(value) is (name == "or"):
                return value
        return value

    def value(self, node: Node, dot: Any) -> Any:
        if node.kind == "const":
            return node.value
        if node.kind == "dot":
            return dot
        if node.kind == "var":
            for scope in reversed(self.scopes):
                if node.value in scope:
                    return scope[node.value]
            raise TemplateError(f'template: {self.template.name}:{self.template.text.count(chr(10), 0, node.pos) + 1}: undefined variable "{node.value}"')
        if node.kind == "paren":
            return self.pipe(node.parts[0], dot)
        if node.kind == "ident":
            return self.call(node, (), dot, ())
        value = self.value(node.parts[0], dot)
        for i, name in enumerate(node.parts[1:]):
            value = self.get(node, value, name, last=i)
        return value

    def get(self, node: Node, value: Any, name: str, *, last: int) -> Any:
        if isinstance(value, Mapping):
            return value.get(name)
        if value is None:
            raise self.error(node, f"nil pointer evaluating interface {{}}.{name}")
        attribute = getattr(value, name, None)
        if attribute is None:
            raise self.error(node, f"can't evaluate field {name} in type {go_type(value)}")
        return attribute


def go_type(value: Any) -> str:
    """The Go type that a decoded value would have."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Mapping):
        return "map[string]interface {}"
    if isinstance(value, list | tuple):
        return "[]interface {}"
    return "interface {}"


def describe(node: Node) -> str:
    """The node as Go prints it in messages."""
    if node.kind == "chain":
        head = node.parts[0]
        prefix = "" if head.kind == "dot" else describe(head)
        return prefix + "".join(f".{p}" for p in node.parts[1:])
    if node.kind == "dot":
        return "."
    if node.kind == "const":
        return f'"{node.value}"' if isinstance(node.value, str) else text_of(node.value)
    if node.kind in ("ident", "var"):
        return str(node.value)
    if node.kind == "paren":
        return f"({describe(node.parts[0])})"
    if node.kind == "pipe":
        return " | ".join(describe(c) for c in node.parts)
    if node.kind == "command":
        return " ".join(describe(p) for p in node.parts)
    return str(node.value or node.kind)
