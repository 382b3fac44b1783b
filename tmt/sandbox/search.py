"""`/search` of customers, payments, prices and products, with Stripe's query language.

https://docs.stripe.com/search. What was written a moment ago is found at once, unlike at Stripe.
"""

from __future__ import annotations

import re
from typing import Any

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext

# The fields of each kind that can be searched; a number is compared, others are matched.
_COMMON = {"created": "number", "metadata": "text"}
_PAYMENT = {"amount": "number", "currency": "text", "customer": "text", "status": "text"}
_CARD = {
    f"payment_method_details.card.{name}": kind
    for name, kind in {
        "brand": "text",
        "exp_month": "number",
        "exp_year": "number",
        "fingerprint": "text",
        "last4": "text",
    }.items()
}
_FIELDS = {
    "charge": {
        **_COMMON,
        **_PAYMENT,
        **_CARD,
        "billing_details.address.postal_code": "text",
        "disputed": "boolean",
        "refunded": "boolean",
    },
    "customer": {**_COMMON, "email": "text", "name": "text", "phone": "text"},
    "payment_intent": {**_COMMON, **_PAYMENT},
    "price": {
        "active": "boolean",
        "metadata": "text",
        **dict.fromkeys(("currency", "lookup_key", "product", "type"), "text"),
    },
    "product": {
        **dict.fromkeys(("active", "shippable"), "boolean"),
        **dict.fromkeys(("description", "metadata", "name", "url"), "text"),
    },
}
_QUOTED = r"""(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")"""
_CLAUSE = re.compile(
    rf"\s*(-?)([a-z][a-z0-9_.]*)(?:\[{_QUOTED}\])?\s*(:|~|>=|<=|>|<)\s*(?:{_QUOTED}|([\w.]+))\s*"
)
_JOINT = re.compile(r"(AND|OR)\b|(?=-?[a-z])", re.IGNORECASE)
_LEAST_SUBSTRING = 3
_MOST_CLAUSES = 10


@route("GET /v1/charges/search", kind="charge")
@route("GET /v1/customers/search", kind="customer")
@route("GET /v1/payment_intents/search", kind="payment_intent")
@route("GET /v1/prices/search", kind="price")
@route("GET /v1/products/search", kind="product")
def search(context: RequestContext, params: Json, kind: str) -> Json:
    """The objects that a query finds, newest first, page by page."""
    limit, page = params.get("limit", 10), params.get("page", "0")
    if not 1 <= limit <= 100:
        raise api_error("out_of_range", "limit")
    if not re.fullmatch(r"[0-9]{1,9}", page):
        raise api_error("search_page", value=page[:40])
    condition, values = _condition(kind, params["query"])
    where = [("json_extract(body, '$.deleted') IS NULL", []), (condition, values)]
    bodies, start = context.store.select(kind, where), int(page)
    end = start + limit
    result = {
        "object": "search_result",
        "url": context.path,
        "has_more": len(bodies) > end,
        "data": [context.visible(body) for body in bodies[start:end]],
    }
    # The next page begins behind the last object of this one.
    return result | {"next_page": str(end) if len(bodies) > end else None}


def _condition(kind: str, query: str) -> tuple[str, list[Any]]:
    """The query as an SQL condition with its values. Raises ApiError (400) for a wrong one."""
    conditions: list[str] = []
    values: list[Any] = []
    joints: set[str] = set()
    position = 0
    while True:
        clause = _CLAUSE.match(query, position)
        if clause is None or len(conditions) == _MOST_CLAUSES:
            raise api_error("search_syntax", rest=query[position : position + 40])
        sql, some = _clause(kind, clause)
        conditions.append(sql)
        values += some
        position = clause.end()
        if position == len(query):
            break
        joint = _JOINT.match(query, position)
        if joint is None:
            raise api_error("search_syntax", rest=query[position : position + 40])
        # Clauses that stand side by side must all be true.
        joints.add((joint[1] or "AND").upper())
        position = joint.end()
    if len(joints) > 1:
        raise api_error("search_syntax", rest=query[:40])
    return "(" + f" {joints.pop() if joints else 'AND'} ".join(conditions) + ")", values


def _clause(kind: str, clause: re.Match[str]) -> tuple[str, list[Any]]:
    negated, field, key, other_key, operator, quoted, other, bare = clause.groups()
    key, quoted = (_text(key, other_key), _text(quoted, other))
    type = _FIELDS[kind].get(field)
    if type is None or (field == "metadata") != (key is not None):
        raise api_error("search_field", field=field, fields=", ".join(sorted(_FIELDS[kind])))
    path = f"$.{field}" if key is None else f"$.metadata.{_json_name(key)}"
    value = quoted if quoted is not None else bare
    allowed = operator == ":" if bare == "null" else operator in _operators(type)
    if type == "number" and bare != "null":
        allowed = allowed and re.fullmatch(r"[0-9]{1,15}", value) is not None
    if operator == "~":
        allowed = allowed and len(value) >= _LEAST_SUBSTRING
    # Numbers need no quotes, wherever they are.
    is_plain = bare in ("null", "true", "false") or (bare or "").isdecimal()
    if type != "number" and quoted is None and not is_plain:
        allowed = False
    if type == "boolean" and bare != "null" and value not in ("true", "false"):
        allowed = False
    if not allowed:
        raise api_error("search_operator", field=field, operator=operator)
    extracted = "json_extract(body, ?)"
    compared: list[Any] = [value]
    if bare == "null":
        sql, compared = f"{extracted} IS NULL", []
    elif type == "number":
        sign = "=" if operator == ":" else operator
        sql, compared = f"{extracted} {sign} ?", [int(value)]
    elif type == "boolean":
        sql, compared = f"{extracted} = ?", [value == "true"]
    elif operator == "~":
        sql = f"INSTR(LOWER({extracted}), LOWER(?)) > 0"
    else:
        sql = f"LOWER({extracted}) = LOWER(?)"
    # A field that is not there matches no clause, so that it matches each negated one.
    sql = f"COALESCE({sql}, 0)"
    return (f"NOT {sql}" if negated else sql), [path, *compared]


def _operators(type: str) -> tuple[str, ...]:
    by_type = {"number": (":", ">", "<", ">=", "<="), "boolean": (":",)}
    return by_type.get(type, (":", "~"))


def _text(single: str | None, double: str | None) -> str | None:
    text = single if single is not None else double
    return None if text is None else re.sub(r"\\(.)", r"\1", text)


def _json_name(key: str) -> str:
    return '"' + key.replace('"', "") + '"'
