"""Confirming an intent: the mandate, the authentication, and the bank's decision.

The bank decides at once, or days later for a debit.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone

from tmt.sandbox import balance, refunds_disputes, reviews
from tmt.sandbox.charges import new_charge
from tmt.sandbox.errors import ApiError, api_error, card_error
from tmt.sandbox.objects import (
    DAY,
    Json,
    new,
    secrets_match,
    token,
    without_internals,
)
from tmt.sandbox.payment_methods import save_for_customer
from tmt.sandbox.registry import timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import SimulatedMethod, simulated_method

HOLD_SECONDS = 7 * DAY
# America/Mexico_City, which has no summer time.
_MEXICO = timezone(timedelta(hours=-6))
_REDIRECT_SECONDS = 3600


@dataclass(frozen=True)
class Confirmation:
    """An intent that is confirmed with a payment method, and how that method is simulated."""

    context: RequestContext
    intent: Json
    method: Json
    simulated: SimulatedMethod

    @classmethod
    def of(cls, context: RequestContext, intent: Json) -> Confirmation:
        """The one with the intent's present payment method. Raises ApiError (400) without one."""
        if not intent["payment_method"]:
            raise context.intent_error("no_payment_method", intent)
        method = context.fetch("payment_method", intent["payment_method"])
        return cls(context, intent, method, simulated_method(method))

    def _option(self, name: str) -> str | None:
        """The intent's `name`, or what its options say instead for this kind of payment method."""
        options = self.intent["payment_method_options"].get(self.simulated.kind, {})
        value: str | None = options.get(name, self.intent[name])
        return value

    @property
    def _last_error(self) -> str:
        is_payment = self.intent["object"] == "payment_intent"
        return "last_payment_error" if is_payment else "last_setup_error"

    def start(self, params: Json) -> Json:
        """Confirm the intent; returns it.

        Raises ApiError: 400 for a wrong request, 402 for a declined method, which changes the
        intent.
        """
        context, intent, simulated = self.context, self.intent, self.simulated
        automatic = intent["automatic_payment_methods"] or {}
        may_redirect = automatic.get("enabled") and automatic["allow_redirects"] == "always"
        in_browser = params.get("use_stripe_sdk") or context.publishable
        if not params.get("return_url") and (
            simulated.redirect or (may_redirect and not in_browser)
        ):
            raise context.intent_error("return_url_missing", intent)
        if intent.get("statement_descriptor") and simulated.kind == "card":
            raise api_error("card_descriptor")
        authenticated_method = intent.get("_authenticated")
        intent |= {"next_action": None, "_challenge": None, "_authenticated": None}
        intent["_voucher"] = None
        intent |= {self._last_error: None, "_off_session": bool(params.get("off_session"))}
        if simulated.kind == "sepa_debit":
            self._accept_mandate(params)
        if authenticated_method == self.method["id"]:
            return self._finish("challenged")
        if simulated.kind == "oxxo":
            return self._hand_out_voucher()
        authentication = self._required_authentication()
        if authentication == "challenged":
            return self._require_action(params)
        return self._finish(authentication)

    def _accept_mandate(self, params: Json) -> None:
        """A debit needs the holder's consent; a browser's element has just shown the text."""
        context, method = self.context, self.method
        acceptance = (params.get("mandate_data") or {}).get("customer_acceptance")
        if params.get("mandate"):
            method["_mandate"] = context.fetch("mandate", params["mandate"], "mandate")["id"]
        elif acceptance or not method.get("_mandate"):
            if not acceptance and not context.publishable:
                raise context.intent_error("mandate_missing", self.intent)
            acceptance = acceptance or {}
            kind = acceptance.get("type", "online")
            online = {"ip_address": None, "user_agent": None, **acceptance.get("online", {})}
            reference = token(16).upper()
            mandate = new(
                "mandate",
                context.now,
                payment_method=method["id"],
                customer_acceptance={
                    "accepted_at": context.now,
                    "type": kind,
                    kind: online if kind == "online" else {},
                },
                payment_method_details={
                    "type": "sepa_debit",
                    "sepa_debit": {
                        "reference": reference,
                        "url": f"{context.root}/mandates/{reference}",
                    },
                },
            )
            method["_mandate"] = context.save(mandate)["id"]
        context.save(method)

    def _required_authentication(self) -> str | None:
        """How the bank authenticates the buyer: a key of _THREE_D_SECURE in charges.py, or None."""
        simulated = self.simulated
        set_up = simulated.off_session == "once_set_up" and self.method.get("_set_up")
        exempt = self.intent["_off_session"] and (set_up or simulated.off_session == "always")
        options = self.intent["payment_method_options"].get("card", {})
        on_request = options.get("request_three_d_secure", "automatic") != "automatic"
        three_d_secure = simulated.three_d_secure
        if on_request and three_d_secure == "optional":
            three_d_secure = "required"
        if simulated.redirect or (three_d_secure == "required" and not exempt):
            return "challenged"
        if three_d_secure == "frictionless":
            return "frictionless"
        return "acknowledged" if simulated.kind == "card" and on_request else None

    def _require_action(self, params: Json) -> Json:
        """The buyer has to authenticate: in place, on a page of the bank's, or it is declined."""
        context, intent, code = self.context, self.intent, "authentication_required"
        # Of an invoice, the buyer is asked for it later; any other payment is over.
        if intent["_off_session"] and not intent.get("_invoice"):
            declining = replace(self.simulated, code=code, decline_code=code)
            return replace(self, simulated=declining)._finish(None)
        if params.get("error_on_requires_action"):
            raise self.decline(card_error(code))
        secret = token(24)
        in_browser = params.get("use_stripe_sdk") or context.publishable
        on_page = self.simulated.redirect or not in_browser
        return_url = params.get("return_url") if on_page else None
        url = f"{context.root}/3ds/{intent['id']}/{secret}"
        if return_url:
            redirect = {"return_url": return_url, "url": url}
            action: Json = {"type": "redirect_to_url", "redirect_to_url": redirect}
        else:
            sdk = {"type": "three_d_secure_redirect", "source": f"{intent['id']}/{secret}"}
            action = {"type": "use_stripe_sdk", "use_stripe_sdk": {**sdk, "stripe_js": url}}
        intent |= {"status": "requires_action", "next_action": action}
        intent["_challenge"] = {"secret": secret, "return_url": return_url}
        if self.simulated.redirect:
            context.schedule(_REDIRECT_SECONDS, "expire_redirect", intent["id"], secret)
        return context.save_and_emit(intent, f"{intent['object']}.requires_action")

    def _hand_out_voucher(self) -> Json:
        """The buyer has so many days to pay in a shop."""
        context, intent, seconds = self.context, self.intent, self.simulated.voucher_seconds
        if seconds is None:
            days = intent["payment_method_options"]["oxxo"]["expires_after_days"]
            today = datetime.fromtimestamp(context.now, _MEXICO).date()
            end = datetime.combine(today + timedelta(days=days), time(23, 59, 59), _MEXICO)
            seconds = int(end.timestamp()) - context.now
        secret = token(24)
        number = str(int(token(24), 36) % 10**32).zfill(32)
        details = {
            "expires_after": context.now + seconds,
            "hosted_voucher_url": f"{context.root}/vouchers/{intent['id']}/{secret}",
            "number": number,
        }
        action = {"type": "oxxo_display_details", "oxxo_display_details": details}
        intent |= {"status": "requires_action", "next_action": action}
        intent["_voucher"] = {"secret": secret, "number": number, "open": True}
        context.schedule(seconds, "expire_voucher", intent["id"], secret)
        if self.simulated.pays_after is not None:
            context.schedule(self.simulated.pays_after, "pay_voucher", intent["id"], secret)
        return context.save_and_emit(intent, "payment_intent.requires_action")

    def answer_challenge(self, passed: bool) -> None:
        """The buyer authenticated, or not. Never raises for a declined payment."""
        intent, redirect = self.intent, self.simulated.redirect
        intent |= {"next_action": None, "_challenge": None}
        if not passed:
            self.decline(api_error(f"{intent['object']}_authentication_failure"))
        elif intent.get("confirmation_method") == "manual" and not redirect:
            intent |= {"status": "requires_confirmation", "_authenticated": self.method["id"]}
            self.context.save(intent)
        else:
            with suppress(ApiError):
                self._finish(None if redirect else "challenged")

    def _finish(self, authentication: str | None) -> Json:
        """Have the bank decide about the payment, or about saving the method."""
        if self.intent["object"] == "payment_intent":
            return self.charge(authentication)
        context, intent, method, simulated = self.context, self.intent, self.method, self.simulated
        if not simulated.attachable:
            raise self.decline(card_error(simulated.code, simulated.decline_code))
        if intent["customer"]:
            save_for_customer(context, method, intent["customer"])
        context.save(method | {"_set_up": True})
        intent |= {"status": "succeeded", "mandate": method.get("_mandate")}
        return context.save_and_emit(intent, "setup_intent.succeeded")

    def charge(self, authentication: str | None) -> Json:
        """Create the charge: it is pending, fails, is held for capture, or succeeds."""
        context, intent, simulated = self.context, self.intent, self.simulated
        charge = new_charge(self.context, self.intent, self.method, authentication)
        intent["latest_charge"] = charge["id"]
        if simulated.kind == "sepa_debit":
            charge |= {"status": "pending", "paid": False, "captured": True}
            charge["amount_captured"] = charge["amount"]
            intent |= {"status": "processing", "next_action": None}
            context.schedule(simulated.settlement_days * DAY, "settle_debit", charge["id"])
            context.save_and_emit(charge, "charge.pending")
            return context.save_and_emit(intent, "payment_intent.processing")
        if simulated.code:
            raise self.fail_charge(charge)
        if simulated.kind == "card":
            self.method["card"]["checks"] = charge["payment_method_details"]["card"]["checks"]
        if simulated.risk == "elevated":
            reviews.open_review(context, intent, charge)
        if self._option("capture_method") != "manual":
            return self.complete_charge(charge)
        self._save_method_after_payment()
        if simulated.kind == "card":
            details = charge["payment_method_details"]["card"]
            details["capture_before"] = context.now + HOLD_SECONDS
        intent |= {"status": "requires_capture", "amount_capturable": charge["amount"]}
        context.schedule(HOLD_SECONDS, "expire_hold", intent["id"])
        context.save_and_emit(charge, "charge.succeeded")
        return context.save_and_emit(intent, "payment_intent.amount_capturable_updated")

    def fail_charge(self, charge: Json) -> ApiError:
        """Mark the charge and the intent as failed; returns the error for the client."""
        simulated = self.simulated
        details = {"charge": charge["id"], "advice_code": charge["outcome"]["advice_code"]}
        error = card_error(simulated.code, simulated.decline_code, simulated.kind, **details)
        charge |= {"failure_code": simulated.code, "failure_message": error.fields["message"]}
        charge |= {"status": "failed", "paid": False, "captured": False, "amount_captured": 0}
        self.context.save(charge)
        error = self.decline(error)
        self.context.emit("charge.failed", charge)
        return error

    def decline(self, error: ApiError) -> ApiError:
        """Put the intent back to the start, with the reason; it can be confirmed again.

        Returns the error for the client: it shows the intent and keeps what has changed.
        """
        intent, kind = self.intent, self.intent["object"]
        fields = error.fields | {"payment_method": without_internals(self.method)}
        intent |= {"status": "requires_payment_method", "payment_method": None}
        intent |= {"next_action": None, self._last_error: fields}
        event = "payment_failed" if kind == "payment_intent" else "setup_failed"
        self.context.save_and_emit(intent, f"{kind}.{event}")
        shown = fields | {kind: self.context.visible(intent)}
        return ApiError(error.status, shown, keep_changes=True)

    def complete_charge(self, charge: Json) -> Json:
        """The bank pays: at once, or what was debited days ago."""
        self._save_method_after_payment()
        charge |= {"status": "succeeded", "paid": True}
        at_once = self.intent["capture_method"] == "automatic" or self.simulated.kind != "card"
        return capture_charge(
            self.context, self.intent, charge, charge["amount"], "charge.succeeded", at_once
        )

    def _save_method_after_payment(self) -> None:
        """Save it for the customer if the payment says so; without a customer it is used up."""
        intent, method = self.intent, self.method
        usage = self._option("setup_future_usage")
        if intent["customer"] and usage not in (None, "none"):
            save_for_customer(self.context, method, intent["customer"])
            method["_set_up"] = True
        self.context.save(method | {"_used": not method["customer"]})


def capture_charge(
    context: RequestContext,
    intent: Json,
    charge: Json,
    amount: int,
    event_type: str,
    at_once: bool = True,
) -> Json:
    """Take `amount` of a charge; it reaches the balance `at_once` or a moment later."""
    charge |= {"captured": True, "amount_captured": amount}
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    if at_once:
        charge["balance_transaction"] = balance.record_charge(context, charge)
    else:
        context.schedule(0, "record_charge", charge["id"])
    context.save_and_emit(charge, event_type)
    context.save_and_emit(intent, "payment_intent.succeeded")
    refunds_disputes.schedule_after_payment(context, charge)
    return intent


@timer_action("record_charge")
def record_charge(context: RequestContext, id: str) -> None:
    """An asynchronous capture reaches the balance."""
    charge = context.fetch("charge", id)
    entry = balance.record_charge(context, charge)
    context.update(charge, {"balance_transaction": entry}, "charge.updated")


@timer_action("settle_debit")
def settle_debit(context: RequestContext, id: str) -> None:
    """The bank has paid the debit, or returned it."""
    charge = context.fetch("charge", id)
    if charge["status"] == "pending":
        intent = context.fetch("payment_intent", charge["payment_intent"])
        confirmation = Confirmation.of(context, intent)
        if confirmation.simulated.code:
            confirmation.fail_charge(charge)
        else:
            confirmation.complete_charge(charge)


def fetch_challenged_intent(context: RequestContext, id: str, secret: str) -> Json:
    """The intent that waits for this authentication. Raises ApiError (404) if none does."""
    intent = context.store.get(id) or {}
    if not secrets_match(secret, (intent.get("_challenge") or {}).get("secret", "")):
        raise api_error("authentication_over")
    return intent


@timer_action("expire_redirect")
def expire_redirect(context: RequestContext, id: str, secret: str) -> None:
    """A buyer who went to the bank's page did not come back in time."""
    intent = fetch_challenged_intent(context, id, secret)
    intent["_challenge"] = None
    expired = api_error("payment_intent_payment_attempt_expired")
    Confirmation.of(context, intent).decline(expired)
