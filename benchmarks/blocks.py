"""Marked blocks of Markdown files, which hold what a benchmark measured: ``<!-- NAME: begin -->`` to ``: end``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Blocks = Mapping[str, Callable[[Any], str]]


def marked(path: Path, blocks: Blocks) -> tuple[str, str, str]:
    """Return the name of the marked block of a Markdown file, and what stands before and after what it holds."""
    text = path.read_text(encoding="utf-8")
    for name in blocks:
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if text.count(begin) == text.count(end) == 1:
            return name, text[: text.index(begin) + len(begin)], text[text.index(end) :]
    raise ValueError(f"{path} must hold <!-- NAME: begin --> and <!-- NAME: end --> once, NAME {' or '.join(blocks)}")


def write_into(path: Path, blocks: Blocks, result: Any) -> None:
    """Replace what the marked block of a Markdown file holds."""
    name, before, after = marked(path, blocks)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(f"{before}\n{blocks[name](result)}\n{after}", encoding="utf-8")
    temporary.replace(path)
