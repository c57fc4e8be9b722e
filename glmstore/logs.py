"""The library's log as JSON, one object a line, for what collects logs rather than reads them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pythonjsonlogger.json import JsonFormatter

from glmstore.config import Settings

LIBRARY = logging.getLogger("glmstore")
"""The parent of every logger here, and in the tasks and flows."""


class JsonLines(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes ``time``, ``level``, ``logger``, ``message`` and a record's extra fields to stderr, as JSON.

    Parameters
    ----------
    annotate
        Called with every record before it is written; may add fields to it.
    """

    def __init__(self, annotate: Callable[[logging.LogRecord], None] | None = None) -> None:
        super().__init__()
        self._annotate = annotate
        self.setFormatter(
            JsonFormatter(
                ["levelname", "name", "message"],
                timestamp="time",
                rename_fields={"levelname": "level", "name": "logger"},
                json_ensure_ascii=False,
            )
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if self._annotate is not None:
            self._annotate(record)
        super().emit(record)


def json_wanted() -> bool:
    """Whether ``GLMSTORE_LOG`` asks for JSON."""
    return Settings().log == "json"


def is_json() -> bool:
    """Whether the log of this process goes out as JSON."""
    return any(isinstance(handler, JsonLines) for handler in LIBRARY.handlers)


def log_as_json(annotate: Callable[[logging.LogRecord], None] | None = None) -> None:
    """Let the library's log, from level info on, go to stderr as JSON and nowhere else on the terminal.

    May be called again: the last `annotate` counts.
    """
    kept = [handler for handler in LIBRARY.handlers if not isinstance(handler, JsonLines)]
    LIBRARY.handlers = [JsonLines(annotate), *kept]
    LIBRARY.propagate = False  # else warnings would come once more, as text, from the root's handler
    if LIBRARY.level == logging.NOTSET:
        LIBRARY.setLevel(logging.INFO)
