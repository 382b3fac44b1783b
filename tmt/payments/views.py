"""An order's pages: paying, coming back from Stripe, its state, giving up."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from tmt import web
from tmt.catalog.listing import takes_place
from tmt.checkout.holds import extensions_left
from tmt.checkout.links import return_url
from tmt.checkout.models import Order
from tmt.checkout.orders import find_order
from tmt.checkout.states import HELD, PROCESSING, Cause
from tmt.core import log
from tmt.core.i18n import current_locale
from tmt.core.i18n import gettext as _
from tmt.gateway.contract import GatewayError, PaymentIntent
from tmt.gateway.extension import gateway
from tmt.payments.declines import ended_by_declines
from tmt.payments.expiry import end_hold
from tmt.payments.methods import too_slow_for
from tmt.payments.pages import order_facts
from tmt.payments.start import current_intent
from tmt.shop import Shop
from tmt.tickets.mails import sent_mail

payments = Blueprint("payments", __name__, url_prefix="/orders/<token>")


@payments.get("")
def order(token: str) -> ResponseReturnValue:
    shop = web.shop()
    found = _find(shop, token)
    with shop.db.reading() as session:
        facts = order_facts(session, found)
        declined = ended_by_declines(session, found)
    return render_template(
        "orders/show.html",
        **_common(shop, found),
        **facts,
        paid_at=found.paid_at,
        declined=declined,
        mail_link=url_for("tickets.mail", token=token) if sent_mail(shop, found) else None,
    )


@payments.get("/pay")
def pay(token: str) -> ResponseReturnValue:
    shop = web.shop()
    found = _find(shop, token)
    if found.status != HELD:
        return _to_order(token)
    _limit(shop, found)
    now = shop.clock.now()
    try:
        if found.expires_at <= now or not takes_place(found.event, now):
            cause = Cause.EXPIRY if found.expires_at <= now else Cause.PAGE
            end_hold(shop, gateway(), found.id, cause)
            return _to_order(token)
        intent = current_intent(shop, gateway(), found, Cause.PAGE)
    except GatewayError:
        problem = _("Our payment provider is not responding. Your tickets stay reserved.")
        page = render_template("orders/pay.html", **_common(shop, found), pay=None, problem=problem)
        return page, 503
    found = _find(shop, token)
    if intent is None or found.status != HELD:
        return _to_order(token)
    return render_template(
        "orders/pay.html", **_common(shop, found), pay=_pay_data(shop, found, intent)
    )


@payments.get("/return")
def returned(token: str) -> ResponseReturnValue:
    """Asks Stripe, believes nothing of the address, and leaves no parameter of it in sight."""
    shop = web.shop()
    found = _find(shop, token)
    _limit(shop, found)
    try:
        intent = current_intent(shop, gateway(), found, Cause.RETURN_PAGE)
    except GatewayError:
        flash(_("We could not confirm your payment yet. This page will update shortly."), "bad")
        return _to_order(token)
    if intent and intent.status == "requires_payment_method" and intent.error_code:
        flash(_("Your payment was not completed. You have not been charged."), "bad")
        return redirect(url_for("payments.pay", token=token), 303)
    return _to_order(token)


@payments.get("/status")
def status(token: str) -> ResponseReturnValue:
    shop = web.shop()
    found = _find(shop, token)
    overdue = found.status == HELD and found.expires_at <= shop.clock.now()
    if overdue:
        shop.jobs.nudge("holds")
    return {
        "status": found.status,
        "overdue": overdue,
        "expires_at": found.expires_at.isoformat(),
        "now": shop.clock.now().isoformat(),
    }


@payments.post("/cancel")
def cancel(token: str) -> ResponseReturnValue:
    """The buyer gives up: the places are free as soon as nobody can pay for them any more."""
    shop = web.shop()
    found = _find(shop, token)
    try:
        end_hold(shop, gateway(), found.id, Cause.BUYER)
    except GatewayError:
        flash(_("We could not cancel your reservation. Please try again in a moment."), "bad")
    return _to_order(token)


def _limit(shop: Shop, found: Order) -> None:
    """Counts a look at a page that asks Stripe; `TooMany` for who does it in masses."""
    hit = web.limits().hit
    hit(shop.settings.confirms_per_address, "confirms-address", web.client_address())
    hit(shop.settings.confirms_per_order, "confirms-order", found.code)


def _find(shop: Shop, token: str) -> Order:
    with shop.db.reading() as session:
        found = find_order(session, token)
    log.bind(order=found.code)
    return found


def _to_order(token: str) -> ResponseReturnValue:
    return redirect(url_for("payments.order", token=token), 303)


def _common(shop: Shop, found: Order) -> dict[str, Any]:
    return {
        "order": _OrderView(found, extensions_left(shop, found)),
        "now": shop.clock.now(),
        "status_url": url_for("payments.status", token=found.token),
        "order_url": url_for("payments.order", token=found.token),
        "waiting": found.status in (HELD, PROCESSING),
    }


class _OrderView:
    """The order as templates see it: its columns, and how often its hold can be extended."""

    def __init__(self, found: Order, left: int) -> None:
        self._order = found
        self.extensions_left = left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._order, name)


def _pay_data(shop: Shop, found: Order, intent: PaymentIntent) -> dict[str, Any]:
    return {
        "publishable_key": shop.settings.stripe_publishable_key,
        "stripe_js_url": shop.settings.stripe_js_url,
        "client_secret": intent.client_secret,
        "return_url": return_url(shop.settings, found),
        "status_url": url_for("payments.status", token=found.token),
        "order_url": url_for("payments.order", token=found.token),
        "locale": current_locale(),
        "debits": "sepa_debit" not in too_slow_for(found),
    }
