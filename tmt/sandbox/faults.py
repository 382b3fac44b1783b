"""Faults on request, kept in the store: for the next call or webhook, the next n, or a share."""

from __future__ import annotations

import json
import random
from fnmatch import fnmatchcase

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table
from tmt.sandbox.store import Store


class Faults:
    """The faults that are armed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def arm(
        self,
        kind: str,
        match: str = "*",
        times: int | None = 1,
        share: float = 1.0,
        **details: object,
    ) -> int:
        """Arm a fault of data/faults.yaml; returns its number. Raises ApiError (400) for a bad one.

        It affects calls (`POST /v1/refunds`) or events (`charge.*`) that match, so many times;
        None for always.
        """
        kinds = load_table("faults")
        if kind not in kinds:
            raise api_error("not_in_enum", "kind", values=", ".join(kinds))
        if not 0 < share <= 1 or (times is not None and times < 1):
            value = f"{share} {times}"
            raise api_error("invalid_value", "share", kind="share or times", value=value)
        with self._store.transaction():
            sql = "INSERT INTO faults (kind, match, times, share, details) VALUES (?, ?, ?, ?, ?)"
            values = (kind, match, times, share, json.dumps(details))
            return self._store.execute(sql, values).lastrowid or 0

    def armed(self) -> list[Json]:
        """The faults that are still to come."""
        rows = self._store.rows("SELECT * FROM faults ORDER BY id")
        return [{**dict(row), "details": json.loads(row["details"])} for row in rows]

    def clear(self, number: int | None = None) -> None:
        """Disarm one fault, or all of them."""
        with self._store.transaction():
            self._store.execute("DELETE FROM faults WHERE ? IN (id, 0)", (number or 0,))

    def take(self, target: str, family: str) -> dict[str, Json]:
        """The faults that affect this call or event, with their details; each is used up once.

        `family` is the start of the `family` in data/faults.yaml, of which there is one at most.
        """
        if not self._store.rows("SELECT 1 FROM faults LIMIT 1"):
            return {}
        armed: dict[str, Json] = {}
        families: set[str] = set()
        with self._store.transaction():
            for row in self.armed():
                own_family = load_table("faults")[row["kind"]]["family"]
                if not own_family.startswith(family) or own_family in families:
                    continue
                if random.random() < row["share"] and fnmatchcase(target, row["match"]):
                    families.add(own_family)
                    armed[row["kind"]] = row["details"]
                    sql = "UPDATE faults SET times = times - 1 WHERE id = ?"
                    self._store.execute(sql, (row["id"],))
            self._store.execute("DELETE FROM faults WHERE times < 1")
        return armed


def mangle(body: Json) -> bytes:
    """The same JSON as Stripe never writes it, and as every parser must read it."""
    reordered = dict(reversed(body.items()))
    mangled = {"unknown_field": {"nothing": None, "face": "\U0001f600"}, **reordered}
    text = json.dumps(mangled, separators=(" ,\r\n\t", " : "))
    return text.replace("_", "\\u005f").encode()
