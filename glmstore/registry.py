"""One file adds an entry: registries find instances in the modules of a package."""

from __future__ import annotations

import pkgutil
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from glmstore.errors import DuplicateNameError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Named(Protocol):
    """Anything with a name can be registered."""

    @property
    def name(self) -> str:
        """The unique name users type."""


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """The instances of one type that stand at module level in the modules of one package.

    A module joins by existing: it binds an instance of `kind`, or a tuple of them, to a public module-level
    name. Discovery happens on first use, so importing the registry costs nothing.

    Parameters
    ----------
    package
        Dotted name of the package whose direct modules are searched.
    kind
        The type whose instances are entries.
    label
        What an entry is called in error messages ("model", "benchmark", …).
    """

    def __init__(self, package: str, kind: type[T], label: str) -> None:
        self.package, self.kind, self.label = package, kind, label

    @cached_property
    def _entries(self) -> dict[str, T]:
        found: dict[str, T] = {}
        owner: dict[str, str] = {}
        for info in pkgutil.iter_modules(import_module(self.package).__path__):
            module = import_module(f"{self.package}.{info.name}")
            for attribute, value in vars(module).items():
                if attribute.startswith("_"):
                    continue
                for entry in value if isinstance(value, tuple) else (value,):
                    if not isinstance(entry, self.kind):
                        continue
                    if entry.name in found and found[entry.name] is not entry:
                        raise DuplicateNameError(
                            f"{self.label} {entry.name!r} is defined in {owner[entry.name]} and in "
                            f"{module.__name__}; rename one of them."
                        )
                    found.setdefault(entry.name, entry)
                    owner.setdefault(entry.name, module.__name__)
        return found

    def __getitem__(self, name: str) -> T:
        """Return the entry called `name`.

        Raises
        ------
        UnknownNameError
            If there is none; the message suggests the nearest names.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.label, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[T]:
        return iter(self._entries[name] for name in sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> list[str]:
        """Return every name, sorted."""
        return sorted(self._entries)
