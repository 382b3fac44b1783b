"""Whether an answer is as the types of Stripe's SDKs say; the types themselves are the only list.

Fields and their types are Python's, whether one may be absent or null are those of presence.yaml.
"""

from __future__ import annotations

import json
import typing
from decimal import Decimal
from typing import Any

import stripe
from stripe._object_classes import OBJECT_CLASSES, get_object_class

from .generate_tables import KINDS, PRESENCE, SIMULATED, hints

# The read types list no other kinds of payment method than the simulated ones.
NOT_OFFERED = KINDS - SIMULATED
LIST_FIELDS = {"object", "url", "has_more", "data"}


def problems(value: Any, hint: Any, path: str) -> list[str]:
    """What about a JSON value contradicts its annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or origin is typing.ClassVar:
        return []
    if origin is typing.Union:
        return min((problems(value, argument, path) for argument in arguments), key=len)
    if origin is typing.Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments[:5]}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [p for item in value for p in problems(item, arguments[0], path)]
    kind = str if hint is Decimal else origin or hint
    if kind in (str, int, bool, float, type(None)):
        return [] if type(value) is kind else [f"{path}: {value!r} is no {kind.__name__}"]
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    named = value.get("object")
    if named == "list":
        wrong = [f"{path}.{name}" for name in LIST_FIELDS.symmetric_difference(value)]
        return wrong + [p for item in value.get("data", []) for p in wrong_fields(item)]
    return object_problems(value, kind, named if isinstance(named, str) else path)


def object_problems(value: dict[str, Any], cls: type, path: str) -> list[str]:
    """Absent is only what may be absent, null only what may be null, and nothing is unknown."""
    fields, presence = hints(cls), PRESENCE.get(path, {})
    if not fields:
        return []
    absent, null = presence.get("absent", "").split(), presence.get("null", "").split()
    wrong = [f"{path}.{name}: unknown" for name in value if name not in {*fields, "object"}]
    for name, hint in fields.items():
        if value.get(name) is not None:
            wrong += problems(value[name], hint, f"{path}.{name}")
        elif name in value and name not in null:
            wrong.append(f"{path}.{name}: null")
        elif name not in value and name not in absent and name not in NOT_OFFERED:
            wrong.append(f"{path}.{name}: absent")
    return wrong


def wrong_fields(body: dict[str, Any]) -> list[str]:
    cls = get_object_class("V1", body["object"])
    assert hints(cls), f"the SDK has no {body['object']}"
    return object_problems(body, cls, body["object"])


class CheckingClient(stripe.RequestsClient):
    """Sends the SDK's requests, and checks the shape of each answer."""

    def request(self, *arguments: Any, **named: Any) -> tuple[Any, int, Any]:
        content, status, headers = super().request(*arguments, **named)
        answer = json.loads(content)
        is_page = answer.get("object") in ("list", "search_result")
        objects = answer["data"] if is_page else [answer]
        for body in objects:
            if status == 200 and body["object"] in OBJECT_CLASSES and not body.get("deleted"):
                wrong = wrong_fields(body)
                assert wrong == [], wrong
        return content, status, headers
