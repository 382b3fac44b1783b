"""What all objects have in common: retrieved, listed, updated, deleted, and shown expanded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table, split_words
from tmt.sandbox.params import changes
from tmt.sandbox.request_context import EVENTS_KEPT_SECONDS, RequestContext

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


def retrieve(context: RequestContext, p: Json, id: str, kind: str) -> Json:
    """GET /v1/<kind>/:id; of a deleted object only that it is deleted."""
    body = context.store.get(id, kind) or {}
    if not body.get("deleted"):
        body = context.fetch(kind, id)
    if "client_secret" in body:
        context.check_client_secret(body, p)
    return body


def only(context: RequestContext, p: Json, kind: str) -> Json:
    """GET /v1/<kind> of which there is one."""
    return context.store.select(kind)[0]


def update(context: RequestContext, p: Json, id: str, kind: str, tells: Sequence[str]) -> Json:
    """POST /v1/<kind>/:id, where every parameter is simply the new value of its field."""
    body = context.fetch(kind, id)
    return context.update(body, changes(body, p), *tells) if p else body


def delete(context: RequestContext, p: Json, id: str, kind: str, tells: Sequence[str] = ()) -> Json:
    """DELETE /v1/<kind>/:id."""
    body = context.fetch(kind, id)
    context.store.execute("DELETE FROM objects WHERE id = ?", (id,))
    for event in tells:
        context.emit(event, body)
    return {"id": id, "object": kind, "deleted": True}


def page(context: RequestContext, p: Json, kind: str, url: str | None = None) -> Json:
    """GET /v1/<kind>: a page of a list, newest first, with Stripe's filters and cursors.

    Every parameter that is not a cursor filters by the object's field of that name.
    """
    limit = p.get("limit", 10)
    if not 1 <= limit <= 100:
        raise api_error("out_of_range", "limit")
    if "starting_after" in p and "ending_before" in p:
        raise api_error("only_one", "ending_before", both="ending_before, starting_after")
    where: Where = [("json_extract(body, '$.deleted') IS NULL", [])]
    if kind == "event":
        where.append(("created >= ?", [context.now - EVENTS_KEPT_SECONDS]))
    for name, value in p.items():
        if name in _CURSORS:
            context.fetch(kind, value, name)
            where.append((_CURSORS[name], [value]))
        elif name != "limit" and value is not None:
            where += _filter(kind, name, value)
    backwards = "ending_before" in p
    found = context.store.select(kind, where, "ASC" if backwards else "DESC", limit + 1)
    data = found[:limit][::-1] if backwards else found[:limit]
    shown = [_shown(context, body) for body in data]
    return {
        "object": "list",
        "url": url or context.path,
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


def _shown(context: RequestContext, body: Json) -> Json:
    shown = context.visible(body)
    if shown["object"] == "event":
        sql = "SELECT COUNT(*) FROM deliveries WHERE event = ? AND delivered = 0"
        shown["pending_webhooks"] = context.store.rows(sql, (shown["id"],))[0][0]
    return shown


def render(context: RequestContext, body: Json, paths: list[str]) -> Json:
    """The JSON of an object or list, with the wanted ids replaced by their objects."""
    shown = _shown(context, body)
    for path in paths:
        parts = path.split(".")
        if len(parts) > _DEPTH:
            raise api_error("too_deep", "expand", most=_DEPTH)
        _expand(context, shown, parts, path)
    return shown


def _expand(context: RequestContext, node: Any, parts: list[str], path: str) -> None:
    name, rest = parts[0], parts[1:]
    if isinstance(node, dict) and node.get("object") == "list" and name == "data":
        for item in node["data"]:
            _expand(context, item, rest, path)
        return
    hidden = context.publishable and name != "payment_method"
    plain = rest and isinstance(node.get(name), dict) and "object" not in node[name]
    if (
        hidden
        or name not in node
        or not (plain or name in split_words(load_table("objects")["expandable"]))
    ):
        raise api_error("not_expandable", "expand", path=path)
    if name == "refunds":
        url = f"/v1/charges/{node['id']}/refunds"
        node[name] = page(context, {"charge": node["id"]}, "refund", url)
    elif isinstance(node[name], str) and (found := context.store.get(node[name])):
        node[name] = _shown(context, found)
    if rest and isinstance(node[name], dict):
        _expand(context, node[name], rest, path)
