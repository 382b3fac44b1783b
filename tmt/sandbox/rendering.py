"""From stored objects to answers: lists, pages, expansion."""

from __future__ import annotations

from typing import Any

from tmt.sandbox import objects
from tmt.sandbox.call import Call
from tmt.sandbox.errors import invalid, missing
from tmt.sandbox.shape import Json, names

_EXPANDABLE = frozenset(
    names("""latest_charge charge payment_intent payment_method balance_transaction source
    failure_balance_transaction refunds""")
)
_DEPTH = 4
_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "="}
_CURSORS = {
    "starting_after": "seq < (SELECT seq FROM objects AS cursor WHERE cursor.id = ?)",
    "ending_before": "seq > (SELECT seq FROM objects AS cursor WHERE cursor.id = ?)",
}
_PENDING = "SELECT 1 FROM deliveries WHERE event = objects.id AND delivered = 0"
_EQUAL = "json_extract(body, '$.{}') = ?"


def page(call: Call, kind: str, p: Json) -> Json:
    """One page of a list, newest first, with Stripe's filters and cursors."""
    limit = p.get("limit", 10)
    if not 1 <= limit <= 100:
        message = "This value must be between 1 and 100."
        raise invalid(message, "limit", "parameter_invalid_integer")
    if "starting_after" in p and "ending_before" in p:
        message = "You may only specify one of these parameters: ending_before, starting_after."
        raise invalid(message, "ending_before")
    where = _filters(p)
    for cursor, clause in _CURSORS.items():
        if cursor in p:
            call.fetch(kind, p[cursor], cursor)
            where.append((clause, [p[cursor]]))
    backwards = "ending_before" in p
    found = call.store.select(kind, where, "ASC" if backwards else "DESC", limit + 1)
    data = found[:limit][::-1] if backwards else found[:limit]
    return {
        "object": "list",
        "url": f"/v1/{kind}s",
        "has_more": len(found) > limit,
        "data": [_shown(call, body) for body in data],
    }


def _filters(p: Json) -> list[tuple[str, list[Any]]]:
    where: list[tuple[str, list[Any]]] = []
    for compare, value in (p.get("created") or {}).items():
        where.append((f"created {_COMPARE[compare]} ?", [value]))
    for name in ("payment_intent", "charge", "customer", "transfer_group", "source", "currency"):
        if name in p:
            where.append((_EQUAL.format(name), [p[name]]))
    types = p.get("types") or ([p["type"]] if "type" in p else [])
    if types:
        either = " OR ".join(["json_extract(body, '$.type') GLOB ?"] * len(types))
        where.append((f"({either})", types))
    if "delivery_success" in p:
        negated = "NOT " if p["delivery_success"] else ""
        where.append((f"{negated}EXISTS ({_PENDING})", []))
    return where


def _shown(call: Call, body: Json) -> Json:
    shown = objects.public(body)
    if shown["object"] == "event":
        sql = "SELECT COUNT(*) FROM deliveries WHERE event = ? AND delivered = 0"
        shown["pending_webhooks"] = call.store.rows(sql, (shown["id"],))[0][0]
    if call.publishable and shown["object"] == "payment_intent":
        shown = objects.publishable(shown)
    return shown


def render(call: Call, body: Json, paths: list[str]) -> Json:
    """The JSON of an object or list, with the wanted ids replaced by their objects."""
    shown = body if body["object"] == "list" or body.get("deleted") else _shown(call, body)
    for path in paths:
        parts = path.split(".")
        if len(parts) > _DEPTH:
            message = f"You cannot expand more than {_DEPTH} levels of a property."
            raise invalid(message, "expand")
        _expand(call, shown, parts, path)
    return shown


def _expand(call: Call, node: Any, parts: list[str], path: str) -> None:
    name, rest = parts[0], parts[1:]
    is_list = node.get("object") == "list"
    if is_list and name == "data":
        for item in node["data"]:
            _expand(call, item, rest, path)
        return
    hidden = call.publishable and name != "payment_method"
    if hidden or name not in node or name not in _EXPANDABLE:
        raise invalid(f"This property cannot be expanded ({path}).", "expand")
    if name == "refunds":
        node[name] = page(call, "refund", {"charge": node["id"]})
    elif isinstance(node[name], str):
        found = call.store.get(node[name])
        if found is None:
            raise missing(name, node[name], name)
        node[name] = _shown(call, found)
    if rest and node[name] is not None:
        _expand(call, node[name], rest, path)
