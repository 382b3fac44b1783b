"""The buyer's pages from placing the order on: paying, the return from Stripe, the order."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from tmt import web
from tmt.catalog import listing
from tmt.catalog.models import Event
from tmt.catalog.stock import SoldOut
from tmt.checkout import orders
from tmt.checkout.buyer_limits import BuyerLimit, Origin, TooManyUnpaid
from tmt.checkout.forms import checkout_form
from tmt.checkout.holds import extensions_left
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.orders import (
    NotOnSale,
    PriceChanged,
    find_order,
    return_url,
)
from tmt.checkout.states import Trigger
from tmt.checkout.views import (
    benefits_of,
    find_own_order,
    own_benefits,
    reject_checkout,
    remember_checkout,
    remembered_checkout,
)
from tmt.core import log, metrics
from tmt.core.email_address import email_key
from tmt.core.i18n import current_locale, ngettext
from tmt.core.i18n import gettext as _
from tmt.core.money import AmountOutOfRange
from tmt.customers.forms import EmailForm
from tmt.customers.views import signed_in_customer
from tmt.gateway.errors import GatewayError
from tmt.gateway.types import PaymentIntent, PaymentIntentStatus
from tmt.payments import confirm_email as confirm_emails
from tmt.payments.balances import get_payment
from tmt.payments.card_testing import ended_by_declines
from tmt.payments.declines import note_visit
from tmt.payments.expiry import end_hold
from tmt.payments.intents import current_intent
from tmt.payments.methods import excluded_payment_methods
from tmt.payments.order_page import order_context
from tmt.payments.purchase import CheckoutTokenUsed, purchase
from tmt.payments.refusals import is_lasting
from tmt.payments.slips import Slip, shown_slip
from tmt.shop import Shop
from tmt.tickets.mails import mail_file

payments = Blueprint("payments", __name__)

# Each change of a paid order's address sends a mail.
_EMAIL_CHANGES = "5 per day"

# After these the form is shown again, with what was typed and what is wrong.
_REJECTIONS = (
    SoldOut,
    NotOnSale,
    PriceChanged,
    AmountOutOfRange,
    BuyerLimit,
    TooManyUnpaid,
    CheckoutTokenUsed,
)


@payments.post("/events/<slug>/orders")
def place(slug: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as session:
        event = listing.find_event(session, slug)
        tokens = (request.form.get("checkout_token", ""), remembered_checkout(slug))
        earlier = [find_own_order(session, shop, token) for token in tokens]
    web.suggest_locale(event.language)
    for existing, is_same_form in zip(earlier, (True, False), strict=True):
        # Another tab of this browser leads to the order that waits for its payment.
        if existing and (is_same_form or existing.status == OrderStatus.HELD):
            return _to_placed_order(existing)
    now, few = shop.clock.now(), shop.settings.few_left
    offers = listing.offers(event, now, few=few, presale=own_benefits(shop, event).presale)
    form = checkout_form(offers, event.max_at_once, request.form)
    if not form.validate():
        return reject_checkout(shop, event, form)
    checkout = form.to_request()
    settings, hit = shop.settings, web.limits().hit
    hit(settings.orders_per_session, "orders-session", web.session_name())
    hit(settings.orders_per_email, "orders-email", email_key(checkout.email))
    hit(settings.orders_overall, "orders", "all")
    try:
        customer = signed_in_customer()
        origin, benefits = _origin(), benefits_of()
        order = purchase(shop, slug, checkout, current_locale(), origin, customer, benefits)
    except _REJECTIONS as error:
        metrics.orders.labels(error.name).inc()
        form.problem = _problem_text(error, event)
        with shop.db.reading() as session:
            event = listing.find_event(session, slug)
        rejected = make_response(reject_checkout(shop, event, form))
        if isinstance(error, TooManyUnpaid):
            rejected.status_code = 429
            rejected.headers["Retry-After"] = str(error.retry_after)
        return rejected
    metrics.orders.labels("placed").inc()
    shop.jobs.trigger("outbox")
    return _to_placed_order(order)


@payments.get("/orders/<token>")
def order(token: str) -> ResponseReturnValue:
    shop = web.shop()
    return _order_page(shop, _find(shop, token), EmailForm())


@payments.get("/orders/<token>/pay")
def pay(token: str) -> ResponseReturnValue:
    shop = web.shop()
    order = _find(shop, token)
    if not _can_pay(shop, order):
        return _to_order(token)
    _limit_stripe_calls(shop, order)
    now = shop.clock.now()
    try:
        if order.expires_at <= now or not listing.is_upcoming(order.event, now):
            trigger = Trigger.EXPIRY if order.expires_at <= now else Trigger.PAGE
            end_hold(shop, web.gateway(), order.id, trigger)
            return _to_order(token)
        intent = current_intent(shop, web.gateway(), order, Trigger.PAGE)
    except GatewayError as error:
        problem = (
            _(
                "We cannot take payments at the moment, because our payment provider refuses our"
                " requests. The organizer has been notified. Your tickets stay reserved until the"
                " time above."
            )
            if is_lasting(error)
            else _("Our payment provider is not responding. Your tickets stay reserved.")
        )
        page = render_template(
            "orders/pay.html",
            **_common(shop, order),
            pay=None,
            slip=None,
            problem=problem,
            email_form=EmailForm(),
        )
        return page, 503
    order = _find(shop, token)
    if intent is None or not _can_pay(shop, order):
        return _to_order(token)
    note_visit(shop, order)
    with shop.db.reading() as session:
        slip = _slip(shop, session, order)
    return render_template(
        "orders/pay.html",
        **_common(shop, order),
        pay=_payment_element(shop, order, intent),
        email_form=EmailForm(),
        slip=slip,
    )


@payments.get("/orders/<token>/return")
def return_from_stripe(token: str) -> ResponseReturnValue:
    """Reads the PaymentIntent from Stripe; ignores and drops every parameter of the URL."""
    shop = web.shop()
    order = _find(shop, token)
    _limit_stripe_calls(shop, order)
    try:
        intent = current_intent(shop, web.gateway(), order, Trigger.RETURN_PAGE)
    except GatewayError as error:
        text = (
            _(
                "We cannot ask our payment provider about your payment at the moment. Please do not"
                " pay again. The organizer has been notified, and this page shows the result as"
                " soon as we have it."
            )
            if is_lasting(error)
            else _("We could not confirm your payment yet. This page will update shortly.")
        )
        flash(text, "bad")
        return _to_order(token)
    failed = intent and intent.status == PaymentIntentStatus.REQUIRES_PAYMENT_METHOD
    if failed and intent and intent.error_code:
        flash(_("Your payment was not completed. You have not been charged."), "bad")
        return redirect(url_for("payments.pay", token=token), 303)
    return _to_order(token)


@payments.get("/orders/<token>/status")
def status(token: str) -> ResponseReturnValue:
    shop = web.shop()
    order = _find(shop, token)
    note_visit(shop, order)
    overdue = order.status == OrderStatus.HELD and order.expires_at <= shop.clock.now()
    if overdue:
        # Once for this end of the hold, however often the page asks.
        shop.jobs.trigger("holds", reason=f"{order.code} {order.expires_at.isoformat()}")
    return {
        "status": order.status,
        "overdue": overdue,
        "expires_at": order.expires_at.isoformat(),
        "now": shop.clock.now().isoformat(),
    }


@payments.post("/orders/<token>/cancel")
def cancel(token: str) -> ResponseReturnValue:
    """The buyer gives up: the hold ends as soon as nobody can pay for it any more."""
    shop = web.shop()
    order = _find(shop, token)
    try:
        end_hold(shop, web.gateway(), order.id, Trigger.BUYER)
    except GatewayError as error:
        text = (
            _(
                "We could not cancel your reservation, because our payment provider refuses our"
                " requests. The organizer has been notified."
            )
            if is_lasting(error)
            else _("We could not cancel your reservation. Please try again in a moment.")
        )
        flash(text, "bad")
        return _to_order(token)
    if _find(shop, token).status == OrderStatus.PROCESSING:
        flash(_("Your payment is on its way and cannot be canceled any more."), "bad")
    return _to_order(token)


@payments.route("/orders/<token>/confirm/<key>", methods=["GET", "POST"])
def confirm_email(token: str, key: str) -> ResponseReturnValue:
    """The link in a mail. Opening it shows a button: programs that check mails open links too."""
    shop = web.shop()
    with shop.db.reading() as session:
        order = confirm_emails.find_to_confirm(session, shop, token, key)
    log.bind(order=order.code)
    if order.status != OrderStatus.HELD:
        return _to_order(token)
    if request.method == "GET":
        return render_template("orders/confirm_email.html", order=order, key=key)
    confirm_emails.confirm(shop, order)
    return _to_order(token)


@payments.post("/orders/<token>/email")
def change_email(token: str) -> ResponseReturnValue:
    """Corrects the buyer's address; the tickets of a paid order are sent to it again."""
    shop = web.shop()
    order = _find(shop, token)
    form = EmailForm()
    if not form.validate():
        return _order_page(shop, order, form), 422
    web.limits().hit(_EMAIL_CHANGES, "email-changes", order.code)
    email = form.email.data
    try:
        orders.change_email(shop, order.id, email)
    except orders.EmailFixed:
        return _to_order(token)
    flash(_("We will send your tickets to %(email)s.") % {"email": email}, "good")
    paid = order.status != OrderStatus.HELD
    return _to_order(token) if paid else redirect(url_for("payments.pay", token=token), 303)


def _slip(shop: Shop, session: Session, order: Order) -> Slip | None:
    """What the buyer pays elsewhere, while the order waits for it."""
    payment = get_payment(session, order.id) if order.status == OrderStatus.PROCESSING else None
    return shown_slip(payment, shop.clock.now()) if payment else None


def _can_pay(shop: Shop, order: Order) -> bool:
    """Whether the pay page is open: the order is held, or its slip gives way to another method."""
    if order.status == OrderStatus.HELD:
        return True
    with shop.db.reading() as session:
        slip = _slip(shop, session, order)
    return slip is not None and slip.is_open and slip.replaceable


def _problem_text(error: Exception, event: Event) -> str:
    if isinstance(error, SoldOut):
        return _(
            "Sorry, there are not that many tickets left."
            " Please check what is available and choose again."
        )
    if isinstance(error, TooManyUnpaid):
        return _(
            "Many tickets are reserved from your network at the moment. Please try again in a"
            " minute, with no more than two tickets."
        )
    if isinstance(error, BuyerLimit):
        most = event.max_per_buyer or event.max_per_order
        text = ngettext(
            "One person can have only %(num)d ticket for this event, with those of earlier orders.",
            "One person can have only %(num)d tickets for this event, with those of earlier"
            " orders.",
            most,
        )
        return text % {"num": most}
    if isinstance(error, CheckoutTokenUsed):
        return _("This page has expired. Please choose your tickets again.")
    if isinstance(error, PriceChanged):
        return _("A price changed while this page was open. Please check it and try again.")
    if isinstance(error, AmountOutOfRange):
        return _("An order for this amount cannot be paid. Please choose other tickets.")
    return _("Some of these tickets are no longer on sale. Please choose again.")


def _limit_stripe_calls(shop: Shop, order: Order) -> None:
    """Limits pages that call Stripe; raises `RateLimited`."""
    web.limit_client(shop.settings.confirms_per_address, "confirms-address")
    web.limits().hit(shop.settings.confirms_per_order, "confirms-order", order.code)


def _order_page(shop: Shop, order: Order, email_form: EmailForm) -> str:
    with shop.db.reading() as session:
        context = order_context(session, order, shop.clock.now())
        declined = ended_by_declines(session, order)
        slip = _slip(shop, session, order)
    mail_link = url_for("tickets.mail", token=order.token) if mail_file(shop, order) else None
    return render_template(
        "orders/show.html",
        **_common(shop, order),
        **context,
        slip=slip,
        paid_at=order.paid_at,
        declined=declined,
        mail_link=mail_link,
        email_form=None if order.status.is_closed else email_form,
    )


def _find(shop: Shop, token: str) -> Order:
    with shop.db.reading() as session:
        order = find_order(session, token)
    log.bind(order=order.code)
    web.suggest_locale(order.locale)
    return order


def _to_order(token: str) -> ResponseReturnValue:
    return redirect(url_for("payments.order", token=token), 303)


def _origin() -> Origin:
    return Origin(web.client_address(), web.client_network(), web.session_name())


def _to_placed_order(order: Order) -> ResponseReturnValue:
    remember_checkout(order.event.slug, order.checkout_token)
    is_to_pay = order.status == OrderStatus.HELD and order.total
    page = "payments.pay" if is_to_pay else "payments.order"
    return redirect(url_for(page, token=order.token), 303)


def _common(shop: Shop, order: Order) -> dict[str, Any]:
    return {
        "order": order,
        "extensions_left": extensions_left(shop, order),
        "now": shop.clock.now(),
        "status_url": url_for("payments.status", token=order.token),
        "order_url": url_for("payments.order", token=order.token),
        "waiting": order.status.holds_stock,
        "upcoming": listing.is_upcoming(order.event, shop.clock.now()),
    }


def _payment_element(shop: Shop, order: Order, intent: PaymentIntent) -> dict[str, Any]:
    """What the page's script needs to mount the Payment Element."""
    return {
        "publishable_key": shop.settings.stripe_publishable_key,
        "stripe_js_url": shop.settings.stripe_js_url,
        "client_secret": intent.client_secret,
        "return_url": return_url(shop.settings, order),
        "status_url": url_for("payments.status", token=order.token),
        "order_url": url_for("payments.order", token=order.token),
        "locale": current_locale(),
        "debits": "sepa_debit" not in excluded_payment_methods(order),
    }
