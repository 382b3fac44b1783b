"""Trouble on order: for the next call, the next n, or a share of them.

A fault of the API matches "METHOD /path", one of the webhooks the event's type; `*` is a wildcard.
"""

from __future__ import annotations

import json
import random
from fnmatch import fnmatchcase

from tmt.sandbox.errors import problem
from tmt.sandbox.shape import Json
from tmt.sandbox.store import Store

API = {
    "429": "answer 429 before anything else",
    "500": "answer 500; the answer is kept for the idempotency key",
    "502": "answer 502 as a proxy in front would, with HTML",
    "hang": "wait (`seconds`, 30) and hang up without an answer",
    "reset": "hang up at once, without doing it",
    "lose_answer": "do it, and hang up without an answer",
    "early_webhooks": "deliver the events before the call is answered",
}
WEBHOOKS = {
    "delay": "deliver late (`seconds`, 60)",
    "reorder": "deliver a second late, after those that follow",
    "drop": "never deliver",
    "double": "deliver twice",
    "wrong_signature": "sign with a secret that nobody has",
    "old_secret": "sign with the secret before the last roll",
    "odd_json": "unusual but valid JSON: escapes, other order, unknown fields",
    "api_version": "rendered for another API version (`version`)",
    "clock_skew": "signed by a clock that is off (`seconds`, -600)",
}
_LONGEST_WAIT = 120.0


class Faults:
    """The trouble that is ordered, kept in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def arm(
        self, kind: str, match: str = "*", times: int | None = 1, share: float = 1.0,
        **details: object,
    ) -> int:  # fmt: skip
        """Order a fault; its number.

        It strikes `times` times (None: until it is cleared), each time with the probability
        `share`. Raises ApiError (400) for an unknown kind or a value that makes no sense.
        """
        if kind not in API and kind not in WEBHOOKS:
            raise problem("not_a_word", "kind", words=", ".join([*API, *WEBHOOKS]))
        if not 0 < share <= 1 or (times is not None and times < 1):
            raise problem("invalid_value", "share", kind="share or times", value=f"{share} {times}")
        with self._store.transaction():
            sql = "INSERT INTO faults (kind, match, times, share, details) VALUES (?, ?, ?, ?, ?)"
            values = (kind, match, times, share, json.dumps(details))
            return self._store.execute(sql, values).lastrowid or 0

    def armed(self) -> list[Json]:
        """The faults that are still to strike."""
        rows = self._store.rows("SELECT * FROM faults ORDER BY id")
        return [{**dict(row), "details": json.loads(row["details"])} for row in rows]

    def clear(self, number: int | None = None) -> None:
        """Disarm one fault, or all of them."""
        with self._store.transaction():
            self._store.execute("DELETE FROM faults WHERE ? IN (id, 0)", (number or 0,))

    def take(self, target: str, api: bool, without: tuple[str, ...] = ()) -> dict[str, Json]:
        """What strikes this call or event, by kind, with its details; counted down."""
        if not self._store.rows("SELECT 1 FROM faults LIMIT 1"):
            return {}
        struck: dict[str, Json] = {}
        with self._store.transaction():
            for row in self.armed():
                kind = row["kind"]
                fits = (kind in API) == api and kind not in {*without, *struck}
                lucky = random.random() >= row["share"]
                if fits and not lucky and fnmatchcase(target, row["match"]):
                    struck[kind] = row["details"]
                    sql = "UPDATE faults SET times = times - 1 WHERE id = ?"
                    self._store.execute(sql, (row["id"],))
            self._store.execute("DELETE FROM faults WHERE times < 1")
        return struck


def odd(body: Json) -> bytes:
    """The same JSON as no serializer of Stripe's writes it, and as every parser must read it."""
    turned = {"unheard_of": {"nothing": None, "face": "\U0001f600"}, **dict(reversed(body.items()))}
    text = json.dumps(turned, separators=(" ,\r\n\t", " : "))
    return text.replace("_", "\\u005f").encode()


def wait_seconds(details: Json) -> float:
    """How long to hang: not for ever."""
    return min(float(details.get("seconds", 30)), _LONGEST_WAIT)
