"""All that a server holds of a kind; it answers a page at a time, of a length that is its own to choose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def every(read: Callable[..., Awaitable[Sequence[T]]], **asked: Any) -> list[T]:
    """Return what a method of Prefect's client reads, all pages of it."""
    found: list[T] = []
    while page := await read(offset=len(found), **asked):
        found += page
    return found
