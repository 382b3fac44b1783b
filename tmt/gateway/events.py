"""Reading Stripe's events: their shape is checked, and nothing personal is kept of them."""

from __future__ import annotations

import json
from typing import Any

from tmt.gateway.contract import Event, NotAnEvent

_LONGEST, _LONGEST_TYPE = 255, 120
_LATEST = 253_402_300_799  # The end of the year 9999, in Unix seconds.

# What is kept of an event's object: enough to act on and to read it again, nothing personal.
_KEPT = frozenset(
    """
    id object status amount amount_received amount_refunded currency created livemode
    payment_method payment_intent charge latest_charge reason cancellation_reason
    """.split()
)


def read_event(payload: bytes) -> Event:
    """The event in a body whose signature was verified; `NotAnEvent` for anything else."""
    try:
        body = json.loads(payload, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NotAnEvent("the body is not JSON") from None
    return event_of(body)


def event_of(body: Any) -> Event:
    """The event in Stripe's JSON; `NotAnEvent` for anything else."""
    kinds = {"id": str, "type": str, "created": int, "livemode": bool, "data": dict}
    if not isinstance(body, dict) or body.get("object") != "event":
        raise NotAnEvent("the body is not an event")
    for name, kind in kinds.items():
        longest = _LONGEST_TYPE if name == "type" else _LONGEST
        if type(body.get(name)) is not kind or not _storable(body[name], longest):
            raise NotAnEvent(f"the event's '{name}' is missing or wrong")
    whole, version = body["data"].get("object"), body.get("api_version")
    return Event(
        id=body["id"],
        type=body["type"],
        created=body["created"],
        livemode=body["livemode"],
        api_version=version if isinstance(version, str) and len(version) <= 60 else None,
        object=_kept(whole),
    )


def _kept(whole: Any) -> dict[str, Any]:
    """What is kept of the event's object, whatever shape that has."""
    fields = whole.items() if isinstance(whole, dict) else ()
    plain = {k: v for k, v in fields if k in _KEPT and not isinstance(v, dict | list)}
    metadata = whole.get("metadata") if isinstance(whole, dict) else None
    if isinstance(metadata, dict) and isinstance(metadata.get("order"), str):
        # Decides nothing; it only tells an event that is early from one that is not ours.
        plain["order"] = metadata["order"]
    return {k: v for k, v in plain.items() if _storable(v)}


def _storable(value: Any, longest: int = _LONGEST) -> bool:
    """Whether a column takes the value; Stripe's ids, types and times are within these bounds."""
    if isinstance(value, str):
        return len(value) <= longest and value.isprintable()
    return not isinstance(value, int | float) or abs(value) <= _LATEST


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
