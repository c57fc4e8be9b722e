import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from glmstore.errors import DuplicateNameError, UnknownNameError
from glmstore.registry import Registry


@dataclass(frozen=True)
class Thing:
    name: str


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "__init__.py").write_text("from dataclasses import dataclass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "zoo_thing", sys.modules[__name__])
    yield folder
    for name in [m for m in sys.modules if m == "zoo" or m.startswith("zoo.")]:
        del sys.modules[name]


def write(package: Path, module: str, body: str) -> None:
    (package / f"{module}.py").write_text("from zoo_thing import Thing\n" + textwrap.dedent(body))


def test_a_module_joins_by_existing(package: Path) -> None:
    write(package, "ape", "ape = Thing('ape')")
    write(package, "cats", "CATS = (Thing('lion'), Thing('lynx'))\n_hidden = Thing('ghost')")
    registry = Registry("zoo", Thing, "animal")
    assert registry.names() == ["ape", "lion", "lynx"]
    assert registry["lynx"] == Thing("lynx")
    assert "ghost" not in registry
    assert len(registry) == 3


def test_two_claims_to_one_name_are_loud(package: Path) -> None:
    write(package, "a", "x = Thing('ape')")
    write(package, "b", "y = Thing('ape')  # equal, yet another object")
    with pytest.raises(DuplicateNameError, match=r"'ape' is defined in zoo\.a and in zoo\.b"):
        Registry("zoo", Thing, "animal").names()


def test_an_entry_imported_by_another_module_is_one_entry(package: Path) -> None:
    write(package, "a", "x = Thing('ape')")
    write(package, "b", "from zoo.a import x")
    assert Registry("zoo", Thing, "animal").names() == ["ape"]


def test_a_typo_is_answered_with_the_nearest_names(package: Path) -> None:
    write(package, "a", "x = Thing('gpn-mini')")
    with pytest.raises(UnknownNameError, match="Did you mean gpn-mini"):
        Registry("zoo", Thing, "animal")["gpn-mimi"]
