"""The errors of the API; their statuses, codes and wording are data/errors.yaml."""

from __future__ import annotations

from typing import Any

from tmt.sandbox.objects import Json, load_table


class ApiError(Exception):
    """An answer other than success, which undoes what was done before unless it says `keep`.

    One that is not `executed` leaves the request's idempotency key free.
    """

    def __init__(self, status: int, fields: Json, keep: bool = False, executed: bool = True):
        super().__init__(fields["message"])
        self.status, self.keep, self.executed = status, keep, executed
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def body(self, request_id: str) -> Json:
        """The JSON document that Stripe answers."""
        more = {"request_log_url": f"https://dashboard.stripe.com/test/logs/{request_id}"}
        if code := self.fields.get("code"):
            more["doc_url"] = "https://docs.stripe.com/error-codes#" + code.replace("_", "-")
        return {"error": {**self.fields, **more}}


def api_error(name: str, param: str | None = None, **said: Any) -> ApiError:
    """The error of data/errors.yaml, about `param`, with `said` in its message and code."""
    row = load_table("errors")[name]
    said["param"] = param or row.get("param")
    code = row.get("code", name)
    fields = {
        "type": row.get("type", "invalid_request_error"),
        "code": code and code.format(**said),
        "message": row["message"].format(**said),
        "param": said["param"],
    }
    return ApiError(row.get("status", 400), fields, executed=row.get("begun", False))


def card_error(
    code: str, decline_code: str | None = None, kind: str = "card", **more: Any
) -> ApiError:
    """A refused payment method (402), with Stripe's sentence for it."""
    sentences = load_table("errors")["refusals"]
    told = (sentences.get(name) for name in (decline_code or f"{kind}_{code}", code))
    message = next(filter(None, told), sentences["generic_decline"])
    said = {"type": "card_error", "code": code, "decline_code": decline_code}
    return ApiError(402, {**said, "message": message, **more})
