"""The event's page with its form, placing an order, more time, and "find my order"."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from flask import (
    Blueprint,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from tmt import web
from tmt.catalog import listing
from tmt.catalog.models import Event
from tmt.catalog.stock import SoldOut
from tmt.checkout import holds, orders
from tmt.checkout.forms import CheckoutRequest, FormState, email_key, read_checkout, read_email
from tmt.checkout.models import Order
from tmt.checkout.orders import NotOnSale, Placed, PriceChanged
from tmt.checkout.states import HELD
from tmt.core import metrics, outbox
from tmt.core.errors import Refusal
from tmt.core.i18n import current_locale
from tmt.core.i18n import gettext as _
from tmt.core.ids import new_token
from tmt.core.money import AmountOutOfRange, exponent, money_format
from tmt.shop import Shop

checkout = Blueprint("checkout", __name__)

# What the packages above add to the transaction that places an order; set by the factory.
PLACED = "tmt.placed"
# A session remembers the checkouts of this many events: a cookie is small.
_REMEMBERED = 8


@checkout.get("/events/<slug>")
def event(slug: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as reading:
        found = listing.find_event(reading, slug)
        standing = _standing_order(reading, slug)
    return _event_page(shop, found, FormState(), standing)


@checkout.post("/events/<slug>/orders")
def place(slug: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as reading:
        found = listing.find_event(reading, slug)
        token = request.form.get("checkout_token", "")
        standing = orders.find_by_checkout_token(reading, token)
    if standing:
        return _to_standing(standing)
    offers = listing.offers(found, shop.clock.now(), few=shop.settings.few_left)
    wanted, form = read_checkout(request.form, offers, found.max_per_order)
    if wanted is None:
        return _refused(shop, found, form)
    _limit_orders(shop, wanted.email)
    return _place(shop, slug, wanted, form)


@checkout.post("/orders/<token>/extend")
def extend(token: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as reading:
        order = orders.find_order(reading, token)
    try:
        holds.extend(shop, order.id)
    except holds.NoMoreTime:
        flash(_("Your reservation cannot be extended again."), "bad")
    else:
        flash(_("Your reservation has been extended."), "good")
    return redirect(url_for("payments.pay", token=token), 303)


@checkout.route("/orders/find", methods=["GET", "POST"])
def find() -> ResponseReturnValue:
    """Answers the same for every address: only the mail tells whether there are orders."""
    form = FormState()
    if request.method == "GET":
        return render_template("orders/find.html", form=form)
    form.values["email"] = request.form.get("email", "")[:300]
    email = read_email(request.form, form)
    if form.errors:
        return render_template("orders/find.html", form=form), 422
    shop = web.shop()
    web.limits().hit(shop.settings.finds_per_address, "finds-address", web.client_address())
    web.limits().hit(shop.settings.finds_per_address, "finds-email", email_key(email))

    def unit(writing: Session) -> None:
        payload = {"orders": orders.newest_orders_of(writing, email), "locale": current_locale()}
        outbox.put(writing, "find_orders", f"find-{new_token()}", payload, shop.clock.now())

    shop.db.transaction(unit)
    shop.jobs.nudge("outbox")
    return render_template("orders/find_sent.html", mail_link=None)


def _limit_orders(shop: Shop, email: str) -> None:
    """Counts the order that is about to be placed; `TooMany` for who places them in masses."""
    settings, hit = shop.settings, web.limits().hit
    hit(settings.orders_per_address, "orders-address", web.client_address())
    hit(settings.orders_per_session, "orders-session", web.session_name())
    hit(settings.orders_per_email, "orders-email", email_key(email))
    hit(settings.orders_in_all, "orders", "all")


def _place(shop: Shop, slug: str, wanted: CheckoutRequest, form: FormState) -> ResponseReturnValue:
    placed = cast(Placed, current_app.extensions[PLACED])
    try:
        order = orders.place_order(shop, slug, wanted, current_locale(), placed)
    except (SoldOut, NotOnSale, PriceChanged, AmountOutOfRange) as refusal:
        metrics.orders.labels(refusal.name).inc()
        form.problem = _refusal_text(refusal)
        with shop.db.reading() as reading:
            found = listing.find_event(reading, slug)
        return _refused(shop, found, form)
    metrics.orders.labels("placed").inc()
    _remember(slug, order.checkout_token)
    shop.jobs.nudge("outbox")
    page = "payments.pay" if order.status == HELD else "payments.order"
    return redirect(url_for(page, token=order.token), 303)


def _to_standing(order: Order) -> ResponseReturnValue:
    _remember(order.event.slug, order.checkout_token)
    page = "payments.pay" if order.status == HELD else "payments.order"
    return redirect(url_for(page, token=order.token), 303)


def _refused(shop: Shop, found: Event, form: FormState) -> ResponseReturnValue:
    return cast(str, _event_page(shop, found, form, None)), 422


def _event_page(
    shop: Shop, found: Event, form: FormState, standing: Order | None
) -> ResponseReturnValue:
    now: datetime = shop.clock.now()
    offers = listing.offers(found, now, few=shop.settings.few_left)
    return render_template(
        "events/show.html",
        event=found,
        state=listing.event_state(found, offers, now),
        offers=offers,
        form=form,
        standing=standing,
        checkout_token=_checkout_token(found.slug, standing),
        money=money_format(found.currency),
        exponent=exponent(found.currency),
        hold_minutes=shop.settings.hold_minutes,
    )


def _refusal_text(refusal: Refusal) -> str:
    if isinstance(refusal, SoldOut):
        return _(
            "Sorry, there are not that many tickets left."
            " Please check what is available and choose again."
        )
    if isinstance(refusal, PriceChanged):
        return _("A price changed while this page was open. Please check it and try again.")
    if isinstance(refusal, AmountOutOfRange):
        return _("An order for this amount cannot be paid. Please choose other tickets.")
    return _("Some of these tickets are no longer on sale. Please choose again.")


def _standing_order(reading: Session, slug: str) -> Order | None:
    """The order that this browser holds for the event, if it is still open."""
    token = session.get("checkouts", {}).get(slug)
    order = orders.find_by_checkout_token(reading, token) if token else None
    if order and order.status != HELD:
        # What is finished does not stand in the way of buying again.
        _forget(slug)
        return None
    return order


def _checkout_token(slug: str, standing: Order | None) -> str:
    """One token for all tabs of this browser, so that they lead to one order."""
    if standing:
        return standing.checkout_token
    token = session.get("checkouts", {}).get(slug)
    if not isinstance(token, str):
        token = new_token()
        _remember(slug, token)
    return token


def _remember(slug: str, token: str) -> None:
    known = dict(session.get("checkouts", {}))
    if known.get(slug) == token:
        return
    known.pop(slug, None)
    kept = list(known.items())[-(_REMEMBERED - 1) :]
    session["checkouts"] = dict([*kept, (slug, token)])


def _forget(slug: str) -> None:
    known = dict(session.get("checkouts", {}))
    known.pop(slug, None)
    session["checkouts"] = known
