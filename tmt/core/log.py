"""Logs: one line per event, with ids, and never a secret, an e-mail address or a name.

JSON lines for machines, readable ones in `flask run`. Values bound with `bind` (request id,
order code) are on every line of that request or job.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

bind = structlog.contextvars.bind_contextvars
clear = structlog.contextvars.clear_contextvars

# Values under these keys are never written.
_PRIVATE_KEYS = frozenset(
    """
    email name holder holders client_secret secret secret_key password token authorization
    cookie signature address phone body payload form
    """.split()
)
_PRIVATE_TEXT = re.compile(
    r"(?P<secret>\b(?:sk|rk)_(?:test|live)_\w+|\bwhsec_\w+|\b(?:pi|seti)_\w+_secret_\w+)"
    r"|(?P<email>[\w.+%'-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<card>\b\d(?:[ -]?\d){12,18}\b)"
    r"|(?P<order>(?<=/orders/)[\w-]{22}(?![\w-]))"
    # PostgreSQL's errors contain the values of the rejected row.
    r"|(?P<values>(?<=DETAIL:)[^\n]+)"
)


def configure(style: str, level: str) -> None:
    """Configures the logging of the process: `style` is "json" or "readable". Safe to repeat."""
    render: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_RedactingFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    # werkzeug would log each request again, with its whole address; fontTools logs each font.
    for name in ("werkzeug", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler], level=max(logging.getLevelName(level), 30), force=True)


def redact(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: replaces private values by their kind."""
    for key, value in line.items():
        if key in _PRIVATE_KEYS:
            line[key] = "[removed]"
        else:
            line[key] = _clean(value)
    return line


def redact_text(text: str) -> str:
    """The text without secrets, e-mail addresses, card numbers and order tokens."""
    return _PRIVATE_TEXT.sub(lambda match: f"[{match.lastgroup}]", text)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "[removed]" if k in _PRIVATE_KEYS else _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value if isinstance(value, int | float | None) else redact_text(str(value))


class _RedactingFilter(logging.Filter):
    """The same for libraries that use `logging`, tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact_text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact_text(logging.Formatter().formatException(record.exc_info))
        return True
