"""What can go wrong with Stripe, by what the caller can do about it."""

from __future__ import annotations

from tmt.core.errors import DomainError, PermanentFailure, Unavailable


class GatewayError(DomainError):
    """A call to Stripe failed.

    `user_message` is Stripe's own text, which may be shown to the buyer; `code` is Stripe's code.
    """

    def __init__(self, message: str, *, user_message: str | None = None, code: str | None = None):
        super().__init__(message)
        self.user_message = user_message
        self.code = code


class CardDeclined(GatewayError):
    """The payment failed; another card or another try may succeed."""


class StripeNotFound(GatewayError):
    """Stripe has no object of this id."""


class InvalidState(GatewayError):
    """The object's state does not allow this; retrieve it to learn why."""


class InvalidRequest(GatewayError):
    """The request is wrong: a mistake of ours or of the settings. Repeating it does not help."""


class AuthenticationFailed(InvalidRequest):
    """Stripe rejects the API keys."""


class PermissionDenied(AuthenticationFailed):
    """The keys are valid, but restricted: they do not permit this call."""


class StripeUnreachable(GatewayError, Unavailable):
    """No answer, or none that says whether the call took effect. The same call may be repeated."""


class StripeNotAsked(StripeUnreachable):
    """Stripe did not answer a moment ago, so the call was not made."""

    was_tried = False


class StripeServerError(StripeUnreachable):
    """Stripe answered with an error of its own and repeats that answer for this key for a day.

    Whether the call took effect must be looked up; making it again needs another key.
    https://docs.stripe.com/api/idempotent_requests
    """


class TooManyCalls(StripeUnreachable):
    """As many pages as may wait for Stripe are waiting already: this call was not made."""


class UnreadableAnswer(GatewayError, Unavailable):
    """Stripe's answer lacks a field, or has another kind of value in it.

    The call may have taken effect. Repeating it will not help before somebody has looked at it.
    """

    concerns_all = False


class InvalidSignature(DomainError):
    """A webhook's signature is missing, malformed, wrong or too old."""


class InvalidEvent(DomainError):
    """The signed body is not a Stripe event."""


class UnreadableEvent(DomainError, PermanentFailure):
    """A stored event lacks what its handler needs: it is parked, for a person to look at."""
