"""Docstrings keep the form by which people and tools find their sections."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "glmstore"
SECTIONS = "Parameters|Attributes|Returns|Yields|Raises|Warns|Notes|Examples|References|See Also|Methods"
JOINED = re.compile(rf"\b({SECTIONS})[ \t]+-{{3,}}")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring, those under attributes included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield node.lineno, text


def joined(source: str) -> list[str]:
    return [f"{line}: {found[0]}" for line, text in docstrings(source) for found in JOINED.finditer(text)]


def test_a_section_that_runs_into_its_dashes_is_found():
    assert joined('"""One.\n\n    Notes ----- The ids.\n    """') == ["1: Notes -----"]
    assert joined('"""One.\n\n    Notes\n    -----\n    The ids.\n    """') == []


@pytest.mark.parametrize("part", sorted(p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()))
def test_every_section_has_a_line_of_its_own(part: str):
    path = PACKAGE / part
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    found = {str(f.relative_to(PACKAGE)): joined(f.read_text()) for f in files}
    assert {name: lines for name, lines in found.items() if lines} == {}
