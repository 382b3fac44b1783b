"""The errors of the API; their statuses, codes and messages are in data/errors.yaml."""

from __future__ import annotations

from typing import Any

from tmt.sandbox.objects import Json, load_table


class ApiError(Exception):
    """An answer other than success. It undoes what the request changed unless `keep_changes`.

    One that is not `executed` leaves the request's idempotency key free.
    """

    def __init__(
        self, status: int, fields: Json, keep_changes: bool = False, executed: bool = True
    ) -> None:
        super().__init__(fields["message"])
        self.status, self.keep_changes, self.executed = status, keep_changes, executed
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def body(self, request_id: str) -> Json:
        """The JSON document of the answer."""
        links = {"request_log_url": f"https://dashboard.stripe.com/test/logs/{request_id}"}
        if code := self.fields.get("code"):
            links["doc_url"] = "https://docs.stripe.com/error-codes#" + code.replace("_", "-")
        return {"error": {**self.fields, **links}}


def api_error(name: str, param: str | None = None, **values: Any) -> ApiError:
    """The error of data/errors.yaml about `param`, with `values` in its message and code."""
    row = load_table("errors")[name]
    values["param"] = param or row.get("param")
    code = row.get("code", name)
    fields = {
        "type": row.get("type", "invalid_request_error"),
        "code": code and code.format(**values),
        "message": row["message"].format(**values),
        "param": values["param"],
    }
    return ApiError(row.get("status", 400), fields, executed=row.get("executed", False))


def card_error(
    code: str, decline_code: str | None = None, kind: str = "card", **fields: Any
) -> ApiError:
    """A declined payment method (402), with Stripe's message for it."""
    messages = load_table("errors")["decline_messages"]
    names = (decline_code or f"{kind}_{code}", code, "generic_decline")
    message = next(messages[name] for name in names if name in messages)
    error = {"type": "card_error", "code": code, "decline_code": decline_code}
    return ApiError(402, {**error, "message": message, **fields})
