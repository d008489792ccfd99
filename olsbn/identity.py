"""The identity of code that makes numbers: a hash of its source, in which comments and docstrings do not count."""

from __future__ import annotations

import ast
import hashlib
import io
import threading
import tokenize
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

# What a module imports from these takes part in its identity: how code is compiled changes no number.
_NUMERICS, _NOT = ("olsbn.engine", "olsbn.linalg"), ("olsbn.engine.compile",)
# Python 3.11 cannot parse source on two threads at once ("AST constructor recursion depth mismatch").
_PARSER = threading.Lock()
_THEORY = "olsbn.theory"  # of theory alone: a method's file has the way to both


def identity(modules: Iterable[str]) -> str:
    """Return a short hash of the source of modules, named in full, and of the numerics of olsbn that they import."""
    with _PARSER:
        return _identity(tuple(modules))


@lru_cache
def _identity(modules: tuple[str, ...]) -> str:
    found: dict[str, str] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name in found or name in _NOT:
            continue
        source = _source(name)
        if source is None:
            if name in modules:
                raise ModuleNotFoundError(f"no source of the module {name!r}", name=name)
            continue  # a name that a module defines, not a module
        tree = ast.parse(source)
        found[name] = _meaning(source, tree)
        todo += _numerics(tree, (*_NUMERICS, _THEORY) if name.startswith(_THEORY) else _NUMERICS)
    sha = hashlib.sha256()
    for name, text in sorted(found.items()):
        sha.update(f"{name}\n{text}\n".encode())
    return sha.hexdigest()[:12]


def _source(module: str) -> str | None:
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # its parent is no package
        return None
    return None if spec is None or not spec.origin else Path(spec.origin).read_text(encoding="utf-8")


def _numerics(tree: ast.Module, roots: Iterable[str]) -> list[str]:
    found = []
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if any(name == root or name.startswith(f"{root}.") for root in roots)]


def meaning(source: str) -> str:
    """Return source without comments, docstrings and blank lines."""
    return _meaning(source, ast.parse(source))


def _meaning(source: str, tree: ast.Module) -> str:
    lines = source.splitlines()
    for node in _statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False) is not None:
            text = node.body[0]
            assert text.end_lineno is not None
            lines[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    # The tokenizer is slow, and needed only where a # may stand inside of a text.
    rest = "\n".join(lines)
    if any(quote in rest for quote in ('"""', "'''")) or any("#" in x and ("'" in x or '"' in x) for x in lines):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    else:
        lines = [line.partition("#")[0] for line in lines]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements of a module, and those inside of them; expressions hold neither imports nor docstrings."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            parts = getattr(node, name, ())
            if isinstance(parts, list):
                todo += parts
