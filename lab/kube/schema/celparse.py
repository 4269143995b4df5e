"""The Common Expression Language: text to a tree, macros expanded at once.

Source: github.com/google/cel-go parser (the grammar CEL.g4 and its macros), as kube-apiserver 1.33 uses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final


class CelError(ValueError):
    """Compilation failed; the text is that of cel-go with its pointer lines."""


@dataclass(frozen=True, slots=True)
class Node:
    """One expression. `kind`: const, ident, select, test (has), call, list, map, comprehension, bind."""

    kind: str
    at: int
    value: Any = None  # constant; name; (name, arguments...) see the parser
    parts: tuple[Any, ...] = ()


_TOKEN: Final = re.compile(
    r"""
    (?P<space>[\ \t\r\n\f]+|//[^\n]*)
  | (?P<string>(?:[bB]?[rR]?|[rR][bB])(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
  | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
  | (?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
  | (?P<int>0x[0-9a-fA-F]+|\d+)
  | (?P<escaped>`[a-zA-Z0-9_.\-/ ]+`)
  | (?P<ident>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<op>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_RAW: Final = re.compile(r"(?P<string>[bB]?[rR][bB]?(?:\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n]*\"|'[^'\n]*'))", re.DOTALL)
_EXPECTED: Final = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_RESERVED: Final = {
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace",
    "return", "var", "void", "while",
}  # fmt: skip
_OPERATORS: Final = {
    "||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5,
}  # fmt: skip
FUNCTION_OF: Final = {
    "||": "_||_", "&&": "_&&_", "==": "_==_", "!=": "_!=_", "<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "in": "@in",
    "+": "_+_", "-": "_-_", "*": "_*_", "/": "_/_", "%": "_%_",
}  # fmt: skip


def pointed(source: str, at: int, text: str) -> str:
    """An error as cel-go prints it: position, text, the line and a pointer."""
    line = source.count("\n", 0, at) + 1
    start = source.rfind("\n", 0, at) + 1
    end = source.find("\n", at)
    shown = source[start : len(source) if end < 0 else end]
    column = at - start
    return f"ERROR: <input>:{line}:{column + 1}: {text}\n | {shown}\n | {'.' * column}^"


def parse(source: str) -> Node:
    """Raises CelError."""
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = list(self._lex())
        self.place = 0

    def _lex(self) -> Any:
        at = 0
        while at < len(self.source):
            found = _RAW.match(self.source, at) or _TOKEN.match(self.source, at)
            if not found:
                raise CelError(
                    pointed(self.source, at, f"Syntax error: token recognition error at: '{self.source[at]}'")
                )
            if found.lastgroup != "space":
                yield (found.lastgroup, found[0], at)
            at = found.end()
        yield ("end", "<EOF>", len(self.source))

    def _peek(self) -> tuple[str, str, int]:
        return self.tokens[self.place]  # type: ignore[no-any-return]  # made by _lex

    def _take(self) -> tuple[str, str, int]:
        token = self._peek()
        self.place += 1
        return token

    def _is(self, *texts: str) -> bool:
        sort, text, _ = self._peek()
        return text in texts and sort in ("op", "ident")

    def _expect(self, text: str) -> int:
        _, found, at = self._peek()
        if not self._is(text):
            raise self._syntax(f"mismatched input '{found}' expecting '{text}'", at)
        self.place += 1
        return at

    def _syntax(self, text: str, at: int) -> CelError:
        return CelError(pointed(self.source, at, f"Syntax error: {text}"))

    def whole(self) -> Node:
        made = self.expression()
        sort, text, at = self._peek()
        if sort != "end":
            raise self._syntax(f"mismatched input '{text}' expecting <EOF>", at)
        return made

    def expression(self) -> Node:
        condition = self.binary(1)
        if not self._is("?"):
            return condition
        at = self._take()[2]
        yes = self.binary(1)
        self._expect(":")
        no = self.expression()
        return Node("call", at, "_?_:_", (condition, yes, no))

    def binary(self, level: int) -> Node:
        left = self.unary()
        while True:
            sort, text, at = self._peek()
            power = _OPERATORS.get(text, 0) if sort in ("op", "ident") else 0
            if power < level:
                return left
            self.place += 1
            right = self.binary(power + 1)
            left = Node("call", at, FUNCTION_OF[text], (left, right))

    def unary(self) -> Node:
        _, text, at = self._peek()
        if self._is("!", "-"):
            self.place += 1
            inner = self.unary()
            if text == "-" and inner.kind == "const" and type(inner.value) in (int, float) and inner.at == at + 1:
                return Node("const", at, -inner.value)
            return Node("call", at, "!_" if text == "!" else "-_", (inner,))
        return self.member()

    def member(self) -> Node:
        made = self.primary()
        while True:
            if self._is("."):
                made = self._dotted(made)
            elif self._is("["):
                at = self._take()[2]
                optional = self._is("?")
                if optional:
                    self.place += 1
                index = self.expression()
                self._expect("]")
                made = Node("call", at, "_[?_]" if optional else "_[_]", (made, index))
            else:
                return made

    def _dotted(self, target: Node) -> Node:
        at = self._take()[2]
        optional = self._is("?")
        if optional:
            self.place += 1
        sort, name, where = self._take()
        if sort == "escaped":
            name = name[1:-1]
        elif sort != "ident":
            raise self._syntax(f"mismatched input '{name}' expecting IDENTIFIER", where)
        if self._is("(") and sort == "ident":
            opened = self._take()[2]
            arguments = self._arguments(")")
            return self._method(opened, name, target, arguments)
        if optional:
            return Node("call", at, "_?._", (target, Node("const", where, name)))
        return Node("select", at, name, (target,))

    def _arguments(self, end: str) -> tuple[Node, ...]:
        found = []
        while not self._is(end):
            found.append(self.expression())
            if not self._is(","):
                break
            self.place += 1
        self._expect(end)
        return tuple(found)

    def primary(self) -> Node:
        sort, text, at = self._take()
        if sort == "op":
            return self._bracketed(text, at)
        if sort == "ident":
            return self._word(text, at)
        if sort == "string":
            return Node("const", at, string_value(text))
        if sort == "int":
            return Node("const", at, int(text, 0) if text.startswith("0x") else int(text))
        if sort == "uint":
            return Node("const", at, UInt(int(text[:-1], 0) if text.startswith("0x") else int(text[:-1])))
        if sort == "float":
            return Node("const", at, float(text))
        raise self._syntax(f"mismatched input '{text}' expecting {_EXPECTED}", at)

    def _bracketed(self, text: str, at: int) -> Node:
        if text == "(":
            made = self.expression()
            self._expect(")")
            return made
        if text == "[":
            return Node("list", at, None, self._arguments("]"))
        if text == "{":
            return self._map(at)
        if text == "." and self._peek()[0] == "ident":
            return self._word(self._take()[1], at)
        expected = _EXPECTED
        raise self._syntax(f"mismatched input '{text}' expecting {expected}", at)

    def _map(self, at: int) -> Node:
        pairs = []
        while not self._is("}"):
            key = self.expression()
            self._expect(":")
            pairs.append((key, self.expression()))
            if not self._is(","):
                break
            self.place += 1
        self._expect("}")
        return Node("map", at, None, tuple(pairs))

    def _word(self, text: str, at: int) -> Node:
        if text in ("true", "false"):
            return Node("const", at, text == "true")
        if text == "null":
            return Node("const", at, None)
        if text in _RESERVED:
            raise CelError(pointed(self.source, at, f"Syntax error: reserved identifier: {text}"))
        if self._is("("):
            opened = self._take()[2]
            arguments = self._arguments(")")
            if text == "has" and len(arguments) == 1:
                if arguments[0].kind != "select":
                    raise CelError(pointed(self.source, arguments[0].at, "invalid argument to has() macro"))
                return Node("test", opened, arguments[0].value, arguments[0].parts)
            return Node("call", opened, text, arguments)
        return Node("ident", at, text)

    def _method(self, at: int, name: str, target: Node, arguments: tuple[Node, ...]) -> Node:
        """A call on a target; the macros become comprehensions."""
        if (
            target.kind == "ident"
            and target.value in ("optional", "cel", "math", "sets", "base64", "lists")
            and name != "bind"
        ):
            return Node("call", at, f"{target.value}.{name}", arguments)
        if target.kind == "ident" and target.value == "cel" and name == "bind" and len(arguments) == 3:
            return Node("bind", at, arguments[0].value, arguments[1:])
        macro = (name, len(arguments))
        if macro in (
            ("all", 2),
            ("exists", 2),
            ("exists_one", 2),
            ("filter", 2),
            ("map", 2),
            ("map", 3),
            ("optMap", 2),
            ("optFlatMap", 2),
        ):
            variable = arguments[0]
            if variable.kind != "ident":
                raise CelError(pointed(self.source, variable.at, "argument must be a simple name"))
            return Node("comprehension", at, (name, variable.value), (target, *arguments[1:]))
        if macro in (("all", 3), ("exists", 3), ("existsOne", 3), ("transformList", 3), ("transformMap", 3)):
            return Node("comprehension", at, (name, arguments[0].value, arguments[1].value), (target, arguments[2]))
        return Node("call", at, f".{name}", (target, *arguments))


class UInt(int):
    """An unsigned integer constant."""

    __slots__ = ()


_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def string_value(text: str) -> str | bytes:
    """The value of a string or bytes literal."""
    prefix = text[: min(place for place in (text.find('"'), text.find("'")) if place >= 0)].lower()
    body = text[len(prefix) :]
    width = 3 if body[:3] in ('"""', "'''") else 1
    body = body[width:-width]
    if "r" not in prefix:
        body = re.sub(
            r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[xX][0-9a-fA-F]{2}|[0-3][0-7]{2}|.)",
            lambda match: _unescape(match[1]),
            body,
            flags=re.DOTALL,
        )
    return body.encode("latin-1", "replace") if "b" in prefix else body


def _unescape(code: str) -> str:
    if code[0] in "uUxX" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _ESCAPES.get(code, code)
