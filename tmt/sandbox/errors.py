"""The errors of the API, with Stripe's types, codes, statuses and wording."""

from __future__ import annotations

from tmt.sandbox.shape import Json


class ApiError(Exception):
    """An answer other than success.

    `keep` says that the state changes made before it stay (a declined card leaves a failed
    charge behind); all other errors undo them. `executed` is False when the request was refused
    before it began to execute, in which case its idempotency key stays free.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        keep: bool = False,
        executed: bool = True,
        extra: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.keep = keep
        self.executed = executed
        fields = {"type": type, "code": code, "message": message, "param": param, **(extra or {})}
        if code:
            fields["doc_url"] = "https://docs.stripe.com/error-codes#" + code.replace("_", "-")
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def body(self, request_id: str) -> Json:
        """The JSON document that Stripe answers."""
        log = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": {**self.fields, "request_log_url": log}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request refused before it began to execute."""
    return ApiError(400, message, code=code, param=param, executed=False)


def missing(label: str, id: str, param: str) -> ApiError:
    """An id that names no object of this account."""
    message = f"No such {label}: '{id}'"
    return ApiError(404, message, code="resource_missing", param=param)


def unexpected_state(message: str, payment_intent: Json) -> ApiError:
    """An action that the PaymentIntent's status does not allow."""
    code = "payment_intent_unexpected_state"
    return ApiError(400, message, code=code, extra={"payment_intent": payment_intent})


def unknown_url(method: str, path: str) -> ApiError:
    """A route that does not exist (here)."""
    return ApiError(
        404,
        f"Unrecognized request URL ({method}: {path}). If you are trying to list objects, remove"
        " the trailing slash. If you are trying to retrieve an object, make sure you passed a"
        " valid (non-empty) identifier in your code. Please see https://stripe.com/docs or we can"
        " help at https://support.stripe.com/.",
        executed=False,
    )


def no_key() -> ApiError:
    """No credentials at all."""
    return ApiError(
        401,
        "You did not provide an API key. You need to provide your API key in the Authorization"
        " header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See"
        " https://stripe.com/docs/api#authentication for details, or we can help at"
        " https://support.stripe.com/.",
        executed=False,
    )


def wrong_key(key: str) -> ApiError:
    """A key that is not this account's, shown masked."""
    shown = key[:8] + "*" * 8 + key[-4:] if len(key) > 16 else "*" * len(key)
    return ApiError(401, f"Invalid API Key provided: {shown}", executed=False)


def secret_key_required() -> ApiError:
    """A publishable key where only a secret one may act."""
    return ApiError(
        403,
        "This API call cannot be made with a publishable API key. Please use a secret API key."
        " You can find a list of your API keys at https://dashboard.stripe.com/account/apikeys.",
        code="secret_key_required",
        executed=False,
    )


def internal() -> ApiError:
    """A defect of the sandbox itself; the traceback is in its log."""
    message = "An unexpected error occurred in the sandbox; its log has the traceback."
    return ApiError(500, message, type="api_error")
