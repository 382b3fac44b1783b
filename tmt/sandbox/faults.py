"""Trouble on order, kept in the store: for the next call or webhook, the next n, or a share."""

from __future__ import annotations

import json
import random
from fnmatch import fnmatchcase

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table
from tmt.sandbox.store import Store


class Faults:
    """The trouble that is ordered."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def arm(
        self, kind: str, match: str = "*", times: int | None = 1, share: float = 1.0,
        **details: object,
    ) -> int:  # fmt: skip
        """Order a fault; its number. Raises ApiError (400) for what makes no sense.

        It strikes what matches (`POST /v1/refunds`, `charge.*`) so many times, None for always.
        """
        if kind not in load_table("faults"):
            raise api_error("not_a_word", "kind", words=", ".join(load_table("faults")))
        if not 0 < share <= 1 or (times is not None and times < 1):
            raise api_error(
                "invalid_value", "share", kind="share or times", value=f"{share} {times}"
            )
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

    def take(self, target: str, families: str) -> dict[str, Json]:
        """What of these families (data/faults.yaml) strikes a call or event, with its details."""
        if not self._store.rows("SELECT 1 FROM faults LIMIT 1"):
            return {}
        struck: dict[str, Json] = {}
        taken: set[str] = set()
        with self._store.transaction():
            for row in self.armed():
                family = load_table("faults")[row["kind"]]["of"]
                fits = family.startswith(families) and family not in taken
                if fits and random.random() < row["share"] and fnmatchcase(target, row["match"]):
                    taken.add(family)
                    struck[row["kind"]] = row["details"]
                    sql = "UPDATE faults SET times = times - 1 WHERE id = ?"
                    self._store.execute(sql, (row["id"],))
            self._store.execute("DELETE FROM faults WHERE times < 1")
        return struck


def mangle(body: Json) -> bytes:
    """The same JSON as no serializer of Stripe's writes it, and as every parser must read it."""
    turned = {"unheard_of": {"nothing": None, "face": "\U0001f600"}, **dict(reversed(body.items()))}
    text = json.dumps(turned, separators=(" ,\r\n\t", " : "))
    return text.replace("_", "\\u005f").encode()
