"""A number that a plan gives, with how far it can be trusted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from glmstore.config import Frozen

Basis = Literal["exact", "measured", "extrapolated", "estimate", "at most", "unknown"]
Unit = Literal["bytes", "seconds", "money"]

_THOUSAND = 1000.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class Quantity(Frozen):
    """One number of a plan.

    `basis` says what it rests on: counted (exact), timed on this device (measured), timed in part and scaled
    up (extrapolated), a formula (estimate), a formula that cannot be passed (at most), or nothing (unknown).
    """

    value: int | float | None = Field(description="In `unit`; None where unknown.")
    unit: Unit
    basis: Basis
    how: str = Field("", description="The arithmetic or the reason, for people.")

    @property
    def text(self) -> str | None:
        """The number for people, with its unit; None where unknown."""
        if self.value is None:
            return None
        if self.unit == "bytes":
            return bytes_text(self.value)
        return seconds_text(self.value) if self.unit == "seconds" else money_text(self.value)

    def times(self, factor: float) -> Quantity:
        """Return a multiple of it, resting on the same basis."""
        return self.model_copy(update={"value": None if self.value is None else self.value * factor})


def unknown(unit: Unit, why: str) -> Quantity:
    """Return a quantity that nothing is known of."""
    return Quantity(value=None, unit=unit, basis="unknown", how=why)


def bytes_text(n: float) -> str:
    """Return a size in decimal units, three digits: ``165 GB``."""
    size = float(n)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{_three(size)} {unit}"
        size /= _THOUSAND
    return f"{_three(size)} PB"


def seconds_text(seconds: float) -> str:
    """Return a duration with its two largest units: ``2 h 14 min``."""
    if seconds < 10:
        return "under 0.1 s" if 0 < seconds < 0.05 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY:,} d {whole % _DAY // _HOUR} h"


def money_text(amount: float) -> str:
    """Return an amount in the currency of the price that was given."""
    return f"{amount:,.2f}" if amount >= 0.995 else f"{amount:.2g}"


def _three(size: float) -> str:
    return f"{size:.0f}" if size >= 99.5 else f"{size:.1f}" if size >= 9.95 else f"{size:.2f}"
