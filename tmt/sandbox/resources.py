"""What all objects have in common: retrieved, listed, updated, deleted, and shown expanded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tmt.sandbox.call import EVENTS_KEPT_SECONDS, Call
from tmt.sandbox.errors import problem
from tmt.sandbox.params import changes
from tmt.sandbox.shape import Json, known, names

_DEPTH = 4
_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "="}
_CURSORS = {
    "starting_after": "seq < (SELECT seq FROM objects AS cursor WHERE cursor.id = ?)",
    "ending_before": "seq > (SELECT seq FROM objects AS cursor WHERE cursor.id = ?)",
}
_PENDING = "EXISTS (SELECT 1 FROM deliveries WHERE event = objects.id AND delivered = 0)"
_TYPE = "json_extract(body, '$.type') GLOB ?"
_HIDDEN = {"payout": "_payout"}
Where = list[tuple[str, list[Any]]]


def retrieve(call: Call, p: Json, id: str, kind: str) -> Json:
    """GET /v1/<kind>/:id; of a deleted object only that it is deleted."""
    body = call.store.get(id, kind) or {}
    if not body.get("deleted"):
        body = call.fetch(kind, id)
    if "client_secret" in body:
        call.check_secret(body, p)
    return body


def only(call: Call, p: Json, kind: str) -> Json:
    """GET /v1/<kind> of which there is one."""
    return call.store.select(kind)[0]


def update(call: Call, p: Json, id: str, kind: str, tells: Sequence[str]) -> Json:
    """POST /v1/<kind>/:id, where every parameter is simply the new value of its field."""
    body = call.fetch(kind, id)
    return call.change(body, changes(body, p), *tells) if p else body


def delete(call: Call, p: Json, id: str, kind: str, tells: Sequence[str] = ()) -> Json:
    """DELETE /v1/<kind>/:id."""
    body = call.fetch(kind, id)
    call.store.execute("DELETE FROM objects WHERE id = ?", (id,))
    for event in tells:
        call.emit(event, body)
    return {"id": id, "object": kind, "deleted": True}


def page(call: Call, p: Json, kind: str, url: str | None = None) -> Json:
    """GET /v1/<kind>: a page of a list, newest first, with Stripe's filters and cursors.

    Every parameter that is not a cursor filters by the object's field of that name.
    """
    limit = p.get("limit", 10)
    if not 1 <= limit <= 100:
        raise problem("out_of_range", "limit")
    if "starting_after" in p and "ending_before" in p:
        raise problem("only_one", "ending_before", both="ending_before, starting_after")
    where: Where = [("json_extract(body, '$.deleted') IS NULL", [])]
    if kind == "event":
        where.append(("created >= ?", [call.now - EVENTS_KEPT_SECONDS]))
    for name, value in p.items():
        if name in _CURSORS:
            call.fetch(kind, value, name)
            where.append((_CURSORS[name], [value]))
        elif name != "limit" and value is not None:
            where += _filter(kind, name, value)
    backwards = "ending_before" in p
    found = call.store.select(kind, where, "ASC" if backwards else "DESC", limit + 1)
    data = found[:limit][::-1] if backwards else found[:limit]
    shown = [_shown(call, body) for body in data]
    return {
        "object": "list",
        "url": url or call.path,
        "has_more": len(found) > limit,
        "data": shown,
    }


def _filter(kind: str, name: str, value: Any) -> Where:
    field = f"json_extract(body, '$.{_HIDDEN.get(name, name)}')"
    if isinstance(value, dict):
        return [(f"{field} {_COMPARE[compare]} ?", [edge]) for compare, edge in value.items()]
    if name == "delivery_success":
        return [(f"NOT {_PENDING}" if value else _PENDING, [])]
    if kind == "event":
        types = value if isinstance(value, list) else [value]
        return [("(" + " OR ".join([_TYPE] * len(types)) + ")", types)]
    return [(f"{field} = ?", [value])]


def _shown(call: Call, body: Json) -> Json:
    shown = call.shown(body)
    if shown["object"] == "event":
        sql = "SELECT COUNT(*) FROM deliveries WHERE event = ? AND delivered = 0"
        shown["pending_webhooks"] = call.store.rows(sql, (shown["id"],))[0][0]
    return shown


def render(call: Call, body: Json, paths: list[str]) -> Json:
    """The JSON of an object or list, with the wanted ids replaced by their objects."""
    shown = _shown(call, body)
    for path in paths:
        parts = path.split(".")
        if len(parts) > _DEPTH:
            raise problem("too_deep", "expand", most=_DEPTH)
        _expand(call, shown, parts, path)
    return shown


def _expand(call: Call, node: Any, parts: list[str], path: str) -> None:
    name, rest = parts[0], parts[1:]
    if isinstance(node, dict) and node.get("object") == "list" and name == "data":
        for item in node["data"]:
            _expand(call, item, rest, path)
        return
    hidden = call.publishable and name != "payment_method"
    plain = rest and isinstance(node.get(name), dict) and "object" not in node[name]
    if hidden or name not in node or not (plain or name in names(known("objects")["expandable"])):
        raise problem("not_expandable", "expand", path=path)
    if name == "refunds":
        url = f"/v1/charges/{node['id']}/refunds"
        node[name] = page(call, {"charge": node["id"]}, "refund", url)
    elif isinstance(node[name], str) and (found := call.store.get(node[name])):
        node[name] = _shown(call, found)
    if rest and isinstance(node[name], dict):
        _expand(call, node[name], rest, path)
