"""An attempt to pay, or to save a payment method: mandate, authentication, and what the bank says.

The bank says it at once, or of a debit days later.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tmt.sandbox import balance, customers, refunds_disputes
from tmt.sandbox.errors import ApiError, api_error, card_error
from tmt.sandbox.objects import (
    DAY,
    Json,
    new,
    secrets_match,
    split_words,
    template,
    token,
    without_internals,
)
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import SimulatedMethod, simulated_method

HOLD_SECONDS = 7 * DAY
_REDIRECT_SECONDS = 3600
_OF_INTENT = split_words("""amount application_fee_amount currency customer description metadata
    on_behalf_of receipt_email shipping statement_descriptor statement_descriptor_suffix
    transfer_data transfer_group""")


@dataclass(frozen=True)
class Confirmation:
    """An intent, the payment method that it is tried with, and what that one stands for."""

    context: RequestContext
    intent: Json
    method: Json
    test: SimulatedMethod

    def confirm(self, p: Json) -> Json:
        """Raises ApiError: 400 for a wrong request, 402 (state kept) for a refusal."""
        intent, test = self.intent, self.test
        automatic = intent["automatic_payment_methods"] or {}
        redirects = automatic.get("enabled") and automatic["allow_redirects"] == "always"
        excused = p.get("use_stripe_sdk") or self.context.publishable
        if not p.get("return_url") and (test.redirect or (redirects and not excused)):
            raise self.context.intent_error("return_url_missing", intent)
        if intent.get("statement_descriptor") and test.kind == "card":
            raise api_error("card_descriptor")
        done, off_session = intent.get("_authenticated"), bool(p.get("off_session"))
        intent |= {"next_action": None, "_challenge": None, "_authenticated": None}
        intent |= {_last_error(intent): None, "_off_session": off_session}
        if test.kind == "sepa_debit":
            self._accept_mandate(p)
        flow = "authenticated" if done == self.method["id"] else self._flow()
        return self._challenge(p) if flow == "challenge" else self._proceed(flow)

    def _accept_mandate(self, p: Json) -> None:
        """A debit needs the holder's consent; a browser's element has just shown the text."""
        context, method = self.context, self.method
        given = (p.get("mandate_data") or {}).get("customer_acceptance")
        if p.get("mandate"):
            method["_mandate"] = context.fetch("mandate", p["mandate"], "mandate")["id"]
        elif given or not method.get("_mandate"):
            if not given and not context.publishable:
                raise context.intent_error("mandate_missing", self.intent)
            given = {"type": "online", **(given or {})}
            online = {"ip_address": None, "user_agent": None, **given.get("online", {})}
            how = {given["type"]: online if given["type"] == "online" else {}}
            reference = token(16).upper()
            url = {"reference": reference, "url": f"{context.root}/mandates/{reference}"}
            mandate = new(
                "mandate", context.now, payment_method=method["id"],
                customer_acceptance={"accepted_at": context.now, "type": given["type"], **how},
                payment_method_details={"type": "sepa_debit", "sepa_debit": url},
            )  # fmt: skip
            method["_mandate"] = context.save(mandate)["id"]
        context.save(method)

    def _flow(self) -> str | None:
        """How the bank authenticates the buyer, if it does."""
        test = self.test
        once = test.off_session == "once_set_up" and self.method.get("_set_up")
        excused = self.intent["_off_session"] and (once or test.off_session == "always")
        options = self.intent["payment_method_options"].get("card", {})
        asked = options.get("request_three_d_secure", "automatic") != "automatic"
        secure = "required" if asked and test.three_d_secure == "optional" else test.three_d_secure
        if test.redirect or (secure == "required" and not excused):
            return "challenge"
        if secure == "frictionless":
            return "frictionless"
        return "acknowledged" if test.kind == "card" and asked else None

    def _challenge(self, p: Json) -> Json:
        """The buyer has to go to the bank: in place, on a page, or not at all."""
        context, intent, code = self.context, self.intent, "authentication_required"
        if intent["_off_session"]:
            test = SimulatedMethod(**{**vars(self.test), "code": code, "decline": code})
            return replace(self, test=test)._proceed(None)
        if p.get("error_on_requires_action"):
            raise self.refuse(card_error(code))
        secret = token(24)
        on_page = self.test.redirect or not (p.get("use_stripe_sdk") or context.publishable)
        return_url = p.get("return_url") if on_page else None
        url = f"{context.root}/3ds/{intent['id']}/{secret}"
        if return_url:
            redirect = {"return_url": return_url, "url": url}
            action: Json = {"type": "redirect_to_url", "redirect_to_url": redirect}
        else:
            sdk = {"type": "three_d_secure_redirect", "source": f"{intent['id']}/{secret}"}
            action = {"type": "use_stripe_sdk", "use_stripe_sdk": {**sdk, "stripe_js": url}}
        intent |= {"status": "requires_action", "next_action": action}
        intent["_challenge"] = {"secret": secret, "return_url": return_url}
        if self.test.redirect:
            context.schedule(
                _REDIRECT_SECONDS, "confirmation.expire_redirect", f"{intent['id']}/{secret}"
            )
        return context.save_and_emit(intent, f"{intent['object']}.requires_action")

    def answer(self, passed: bool) -> None:
        """The buyer agreed at the bank, or did not. Never raises for a refused payment."""
        intent, redirect = self.intent, self.test.redirect
        intent |= {"next_action": None, "_challenge": None}
        if not passed:
            self.refuse(api_error(f"{intent['object']}_authentication_failure"))
        elif intent.get("confirmation_method") == "manual" and not redirect:
            intent |= {"status": "requires_confirmation", "_authenticated": self.method["id"]}
            self.context.save(intent)
        else:
            with suppress(ApiError):
                self._proceed(None if redirect else "authenticated")

    def _proceed(self, flow: str | None) -> Json:
        """Ask the bank, with how the buyer was authenticated."""
        context, intent, method, test = self.context, self.intent, self.method, self.test
        if intent["object"] == "payment_intent":
            return self._pay(flow)
        if not test.attach:
            raise self.refuse(card_error(test.code, test.decline))
        if intent["customer"]:
            customers.save_for(context, method, intent["customer"])
        context.save(method | {"_set_up": True})
        intent |= {"status": "succeeded", "mandate": method.get("_mandate")}
        return context.save_and_emit(intent, "setup_intent.succeeded")

    def _pay(self, flow: str | None) -> Json:
        context, intent, test = self.context, self.intent, self.test
        charge = self._charge(flow)
        intent["latest_charge"] = charge["id"]
        if test.kind == "sepa_debit":
            charge |= {"status": "pending", "paid": False, "captured": True}
            charge["amount_captured"] = charge["amount"]
            intent |= {"status": "processing", "next_action": None}
            context.schedule(test.days * DAY, "confirmation.settle_debit", charge["id"])
            context.save_and_emit(charge, "charge.pending")
            return context.save_and_emit(intent, "payment_intent.processing")
        if test.code:
            raise self.fail(charge)
        if test.kind == "card":
            self.method["card"]["checks"] = charge["payment_method_details"]["card"]["checks"]
        if intent["capture_method"] != "manual":
            return self.succeed(charge)
        self._keep_method()
        charge["payment_method_details"]["card"]["capture_before"] = context.now + HOLD_SECONDS
        intent |= {"status": "requires_capture", "amount_capturable": charge["amount"]}
        context.schedule(HOLD_SECONDS, "intents.expire_hold", intent["id"])
        context.save_and_emit(charge, "charge.succeeded")
        return context.save_and_emit(intent, "payment_intent.amount_capturable_updated")

    def _charge(self, flow: str | None) -> Json:
        context, intent, method, kind = self.context, self.intent, self.method, self.test.kind
        details = template(f"charge_{kind}")
        details |= {name: value for name, value in method[kind].items() if name in details}
        if kind == "card":
            details |= self._card_details(flow)
        elif kind == "sepa_debit":
            settled = datetime.fromtimestamp(context.now + self.test.days * DAY, UTC).date()
            expected = settled.isoformat()
            details |= {"mandate": method["_mandate"], "expected_debit_date": expected}
        more = {} if kind == "card" else {"id": f"py_3{token(24)}"}
        return new(
            "charge", context.now, **{name: intent[name] for name in _OF_INTENT}, **more,
            billing_details=method["billing_details"],
            calculated_statement_descriptor=intent["statement_descriptor_suffix"] or "SANDBOX",
            outcome=self._outcome(), payment_intent=intent["id"], payment_method=method["id"],
            payment_method_details={"type": kind, kind: details},
            receipt_url=f"{context.root}/payments/{intent['id']}", _test=self.test.key,
        )  # fmt: skip

    def _card_details(self, flow: str | None) -> Json:
        test, amount = self.test, self.intent["amount"]
        has_zip = self.method["billing_details"]["address"]["postal_code"]
        zip_check = test.zip_check if has_zip else None
        checks = {"address_postal_code_check": zip_check, "cvc_check": test.cvc_check}
        secure = {"transaction_id": str(uuid.uuid4())} if flow else None
        return {
            "amount_authorized": amount,
            "checks": {"address_line1_check": None, **checks},
            "network": test.brand,
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
            "three_d_secure": secure and template(f"three_d_secure_{flow}") | secure,
        }

    def _outcome(self) -> Json:
        test = self.test
        told = template(f"outcome_risk_{test.risk}")
        if test.risk == "highest":
            return template("outcome_blocked") | told
        if test.code and test.kind == "card":
            return (
                template("outcome_issuer_declined") | told | {"reason": test.decline or test.code}
            )
        return template("outcome_authorized") | told

    def fail(self, charge: Json) -> ApiError:
        """Mark the charge and the intent as failed; the error that tells it."""
        told = {"charge": charge["id"], "advice_code": charge["outcome"]["advice_code"]}
        error = card_error(self.test.code, self.test.decline, self.test.kind, **told)
        charge |= {"failure_code": self.test.code, "failure_message": error.fields["message"]}
        charge |= {"status": "failed", "paid": False, "captured": False, "amount_captured": 0}
        self.context.save(charge)
        error = self.refuse(error)
        self.context.emit("charge.failed", charge)
        return error

    def refuse(self, error: ApiError) -> ApiError:
        """Back to the start, with the reason; the same intent can be tried again.

        Returns the error for whoever asked: it shows both, and what has changed stays.
        """
        intent, kind = self.intent, self.intent["object"]
        told = error.fields | {"payment_method": without_internals(self.method)}
        intent |= {"status": "requires_payment_method", "payment_method": None}
        intent |= {"next_action": None, _last_error(intent): told}
        event = "payment_failed" if kind == "payment_intent" else "setup_failed"
        self.context.save_and_emit(intent, f"{kind}.{event}")
        return ApiError(error.status, told | {kind: self.context.visible(intent)}, keep=True)

    def succeed(self, charge: Json) -> Json:
        """The bank pays: at once, or what was debited days ago."""
        self._keep_method()
        charge |= {"status": "succeeded", "paid": True}
        at_once = self.intent["capture_method"] == "automatic" or self.test.kind != "card"
        return captured(self.context, self.intent, charge, charge["amount"], "succeeded", at_once)

    def _keep_method(self) -> None:
        """Saved for the customer when the payment said so; without a customer it is used up."""
        intent, method = self.intent, self.method
        if intent["customer"] and intent["setup_future_usage"]:
            customers.save_for(self.context, method, intent["customer"])
            method["_set_up"] = True
        self.context.save(method | {"_used": not method["customer"]})


def _last_error(intent: Json) -> str:
    return "last_payment_error" if intent["object"] == "payment_intent" else "last_setup_error"


def of(context: RequestContext, intent: Json) -> Confirmation:
    """The attempt with the payment method that the intent has now. Raises ApiError (400)."""
    if not intent["payment_method"]:
        raise context.intent_error("no_payment_method", intent)
    method = context.fetch("payment_method", intent["payment_method"])
    return Confirmation(context, intent, method, simulated_method(method))


def captured(
    context: RequestContext,
    intent: Json,
    charge: Json,
    amount: int,
    event: str,
    at_once: bool = True,
) -> Json:
    """`amount` of a charge is taken, and reaches the balance `at_once` or a moment later."""
    charge |= {"captured": True, "amount_captured": amount}
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    if at_once:
        charge["balance_transaction"] = balance.book_charge(context, charge)
    else:
        context.schedule(0, "confirmation.book_charge", charge["id"])
    context.save_and_emit(charge, f"charge.{event}")
    context.save_and_emit(intent, "payment_intent.succeeded")
    refunds_disputes.trouble_later(context, charge)
    return intent


def book_charge(context: RequestContext, id: str) -> None:
    """Timer: an asynchronous capture reaches the balance."""
    charge = context.fetch("charge", id)
    entry = balance.book_charge(context, charge)
    context.update(charge, {"balance_transaction": entry}, "charge.updated")


def settle_debit(context: RequestContext, id: str) -> None:
    """Timer: the bank has paid the debit, or sent it back."""
    charge = context.fetch("charge", id)
    if charge["status"] == "pending":
        tried = of(context, context.fetch("payment_intent", charge["payment_intent"]))
        if tried.test.code:
            tried.fail(charge)
        else:
            tried.succeed(charge)


def challenged(context: RequestContext, id: str, secret: str) -> Json:
    """The intent whose challenge this is; ApiError (404) when there is none (any more)."""
    intent = context.store.get(id) or {}
    if not secrets_match(secret, (intent.get("_challenge") or {}).get("secret", "")):
        raise api_error("authentication_over")
    return intent


def answer(context: RequestContext, intent: Json, passed: bool) -> Json:
    """The buyer agreed at the bank, or did not. Never raises for a refused payment."""
    of(context, intent).answer(passed)
    return intent


def expire_redirect(context: RequestContext, source: str) -> None:
    """Timer: a buyer who went to the bank's page did not come back in time."""
    intent = challenged(context, *source.split("/"))
    intent["_challenge"] = None
    of(context, intent).refuse(api_error("payment_intent_payment_attempt_expired"))
