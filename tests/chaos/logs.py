"""What the shop has printed: nothing private (I6), and no failure of its own (I8)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tests.chaos.buyers import MARK
from tests.chaos.plan import ASKING_CARDS, DECLINED_CARDS, GOOD_CARDS, IBANS
from tmt.checkout.models import Order
from tmt.shop import Shop
from tmt.tickets.models import Ticket

_WORD = re.compile(r"[\w-]{20,}")
_PATTERNS = {
    "a client secret": re.compile(r"\b(?:pi|seti)_\w+_secret_\w+"),
    "a secret key": re.compile(r"\b(?:sk|rk)_(?:test|live)_\w+|\bwhsec_\w+"),
    "an e-mail address": re.compile(r"[\w.+-]+@chaos\.example"),
    "a buyer's name": re.compile(re.escape(MARK), re.IGNORECASE),
    "a card or an account": re.compile(
        "|".join({*ASKING_CARDS, *DECLINED_CARDS, *GOOD_CARDS, *IBANS})
    ),
}


def private_words(paths: Sequence[Path], shop: Shop) -> Iterator[str]:
    """I6: where something private stands in the logs; never what."""
    with shop.db.reading() as session:
        secret = set(session.scalars(select(Order.token)))
        secret |= set(session.scalars(select(Order.checkout_token)))
        secret |= set(session.scalars(select(Ticket.code)))
    for path in paths:
        for number, line in enumerate(_lines(path), 1):
            leaks = [name for name, pattern in _PATTERNS.items() if pattern.search(line)]
            if secret & set(_WORD.findall(line)):
                leaks.append("an order's or a ticket's token")
            yield from (f"I6: {path}:{number} holds {name}" for name in leaks)


def own_failures(paths: Sequence[Path]) -> Iterator[str]:
    """I8: answers of 500 and more in a request of which no call to Stripe failed."""
    for path in paths:
        failed: set[str] = set()
        logged: dict[str, list[str]] = defaultdict(list)
        for line in map(_parsed, _lines(path)):
            request, name = str(line.get("request", "")), str(line.get("event", ""))
            logged[request].append(f"{name} {line.get('error', '')}".strip())
            if name.startswith("stripe.") and line.get("outcome") != "ok":
                failed.add(request)
            if name == "request" and line["status"] >= 500 and request not in failed:
                yield (
                    f"I8: {line['method']} {line['route']} was answered {line['status']}"
                    f" ({path}, request {request}): {', '.join(logged[request][:-1])}"
                )


def unexpected_errors(paths: Sequence[Path]) -> Iterator[str]:
    """I8 too: errors in the logs that nothing outside the shop can cause."""
    for path in paths:
        for number, line in enumerate(_lines(path), 1):
            parsed = _parsed(line)
            if parsed.get("level") in ("error", "critical"):
                reason = _reason(str(parsed.get("exception") or parsed.get("error", "")))
                # Redis does not answer: the limits limit nobody meanwhile.
                is_redis = parsed["event"] == "limits.unavailable" and _NO_REDIS.search(reason)
                if not is_redis and not _CAUSED_OUTSIDE.search(reason):
                    yield f"I8: {path}:{number} {parsed['event']}: {reason[:300]}"
            if line.startswith("Traceback"):
                yield f"I8: {path}:{number} is a traceback outside of any log line"


# What is tried again: Stripe does not answer, or is faster than the shop; a dispute is undecided.
_NAMED = re.compile(r"\w+(\.\w+)+(:|$)")
_CAUSED_OUTSIDE = re.compile(
    r"StripeUnreachable|StripeServerError|TooManyCalls|NotStoredYet|WaitsForDispute"
    r"|OutdatedAnswer|TicketsBlocked"
)
_NO_REDIS = re.compile("TimeoutError|ConnectionError")


def _reason(text: str) -> str:
    """The line of a traceback that names the exception; other texts' last line."""
    lines = text.splitlines() or [""]
    return next((line for line in reversed(lines) if _NAMED.match(line)), lines[-1])


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(errors="replace") as file:
            yield from file


def _parsed(line: str) -> dict[str, Any]:
    """The log line's values; nothing for a line that a killed process did not finish."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
