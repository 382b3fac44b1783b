"""Logs: one line per event, with ids, and never a secret, an e-mail address or a name.

JSON lines for machines, readable ones in `flask run`. Values bound with `bind` (request id,
order code) are on every line of that request or job.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from itertools import islice
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
# Every repetition is bounded, or begins with a word and ends with it, so that a text of twice the
# length takes at most twice the time.
_PRIVATE_TEXT = re.compile(
    r"(?P<secret>\b(?:sk|rk|ek)_(?:org_)?(?:test|live)_\w+|\bwhsec_\w+"
    r"|\b(?:pi|seti|src|cs|cuss)_(?:\w*_)?secret_\w+|(?<=\bBearer )[\w.~+/=-]{8,1000})"
    # In the URL of a database or a queue, whose host may be one word; and in such a driver's words.
    r"|(?P<password>(?<=://)[^\s/:@]{0,64}:[^\s/]{1,255}@|(?<=\bpassword=)[^\s&]{1,255})"
    r"|(?P<email>[\w.+%'-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,10})"
    r"|(?P<card>\b\d(?:[ -]?\d){12,18}\b)"
    r"|(?P<order>(?:(?<=/orders/)|(?<=%2Forders%2F)|(?<=%2forders%2f))[\w-]{22}(?![\w-]))"
    r"|(?P<link>(?:(?<=/sign-in/)|(?<=%2Fsign-in%2F)|(?<=%2fsign-in%2f)|(?<=/account/email/)"
    r"|(?<=%2Faccount%2Femail%2F)|(?<=%2faccount%2femail%2f))[\w-]{22}(?![\w-]))"
    r"|(?P<key>(?:(?<=/confirm/)|(?<=%2Fconfirm%2F)|(?<=%2fconfirm%2f))[\w.-]{8,255})"
    # PostgreSQL's errors contain the values of the rejected row.
    r"|(?P<values>(?<=DETAIL:)[^\n]+)"
)
# Of a longer text the beginning and the end are logged; a traceback says most at its end.
_MAX_LENGTH = 16_000
# A secret that is cut in two is recognised by no pattern, so no part of it is logged.
_MAX_SECRET = 600
_MAX_ITEMS, _MAX_DEPTH = 100, 6


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
    """The text without secrets, e-mail addresses, card numbers and the tokens in links.

    A long text is shortened first: what callers send must not decide how long this takes.
    """
    if len(text) > _MAX_LENGTH:
        text = _shortened(text)
    return _PRIVATE_TEXT.sub(lambda match: f"[{match.lastgroup}]", text)


def _shortened(text: str) -> str:
    """The beginning without its last word, which may be cut, and the end without its first line."""
    half = _MAX_LENGTH // 2
    begin, seam = text[: half - _MAX_SECRET], text[half - _MAX_SECRET : half]
    begin += "".join(seam.rpartition(" ")[:2])
    end = text[-half:].partition("\n")[2]
    return f"{begin} [{len(text) - len(begin) - len(end)} characters cut] {end}"


def _clean(value: Any, depth: int = _MAX_DEPTH) -> Any:
    if isinstance(value, int | float | None):
        return value
    if not depth:
        return "[cut]"
    if isinstance(value, dict):
        items = list(islice(value.items(), _MAX_ITEMS))
        return {
            redact_text(str(k)): "[removed]" if k in _PRIVATE_KEYS else _clean(v, depth - 1)
            for k, v in items
        }
    if isinstance(value, list | tuple):
        return [_clean(item, depth - 1) for item in value[:_MAX_ITEMS]]
    return redact_text(str(value))


class _RedactingFilter(logging.Filter):
    """The same for libraries that use `logging`, tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact_text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact_text(logging.Formatter().formatException(record.exc_info))
        return True
