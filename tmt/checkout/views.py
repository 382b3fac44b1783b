"""The event's page with its checkout form, more time for a hold, and "find my order"."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from flask import (
    Blueprint,
    Flask,
    current_app,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from tmt import web
from tmt.catalog import changes, listing
from tmt.catalog.models import Event
from tmt.checkout import holds, orders, pricing
from tmt.checkout.buyer_limits import is_from
from tmt.checkout.forms import CheckoutForm, checkout_form
from tmt.checkout.models import Order
from tmt.checkout.pricing import Benefits, BenefitsOf
from tmt.core import outbox
from tmt.core.email_address import email_key
from tmt.core.i18n import current_locale, ngettext
from tmt.core.i18n import gettext as _
from tmt.core.ids import new_token
from tmt.core.money import exponent, money_format
from tmt.customers.forms import EmailForm
from tmt.customers.views import signed_in_customer
from tmt.shop import Shop

checkout = Blueprint("checkout", __name__)

_EXTENSION = "tmt.checkout"

# A session holds the checkouts of this many events, as its cookie must stay small.
_MAX_CHECKOUTS = 8


def init_app(app: Flask, benefits_of: BenefitsOf) -> None:
    """Adds the pages; `benefits_of` says what the memberships of a customer give for an event."""
    app.extensions[_EXTENSION] = benefits_of
    app.register_blueprint(checkout)


def benefits_of() -> BenefitsOf:
    """What the application was set up with."""
    return cast(BenefitsOf, current_app.extensions[_EXTENSION])


def own_benefits(shop: Shop, event: Event) -> Benefits:
    """What who is signed in in this browser has for the event now."""
    customer = signed_in_customer()
    if customer is None:
        return Benefits()
    with shop.db.reading() as reading:
        return benefits_of()(reading, shop, customer.id, event, False)


@checkout.get("/events/<slug>")
def event(slug: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as reading:
        event = listing.find_event(reading, slug)
        open_order = find_own_order(reading, shop, remembered_checkout(slug))
    if open_order and not holds.can_be_paid(open_order, shop.clock.now()):
        # A finished order must not prevent another one.
        session["checkouts"] = {s: t for s, t in session["checkouts"].items() if s != slug}
        open_order = None
    return _render_event(shop, event, None, open_order)


@checkout.get("/events/<slug>/total")
def total(slug: str) -> ResponseReturnValue:
    """What an order for these quantities would cost who is signed in, for the running total."""
    shop = web.shop()
    with shop.db.reading() as reading:
        event = listing.find_event(reading, slug)
    benefits, prices, quantities = own_benefits(shop, event), {}, {}
    for each in event.ticket_types:
        prices[each.id] = each.price
        count = request.args.get(f"quantity-{each.id}", 0, type=int)
        quantities[each.id] = min(max(count, 0), event.max_per_order)
    lines = pricing.price_lines(prices, quantities, benefits.grants, event.currency)
    amount = sum(line.total for line in lines)
    answer = make_response({"total": amount})
    answer.headers["Cache-Control"] = "private, no-store"
    return answer


@checkout.post("/orders/<token>/extend")
def extend(token: str) -> ResponseReturnValue:
    shop = web.shop()
    with shop.db.reading() as reading:
        order = orders.find_order(reading, token)
    web.suggest_locale(order.locale)
    # The pay page's script asks for JSON: what was typed into the payment form stays there.
    wants_json = request.accept_mimetypes.best == "application/json"
    try:
        holds.extend(shop, order.id)
    except holds.NoMoreTime:
        if wants_json:
            return {
                "expires_at": None,
                "message": _("Your reservation cannot be extended again."),
            }, 409
        flash(_("Your reservation cannot be extended again."), "bad")
    else:
        if wants_json:
            return _extended(shop, token)
        flash(_("Your reservation has been extended."), "good")
    return redirect(url_for("payments.pay", token=token), 303)


def _extended(shop: Shop, token: str) -> ResponseReturnValue:
    """What the clock on the page shows from now on."""
    with shop.db.reading() as reading:
        order = orders.find_order(reading, token)
    left = holds.extensions_left(shop, order)
    return {
        "expires_at": order.expires_at.isoformat(),
        "now": shop.clock.now().isoformat(),
        "message": _("Your reservation has been extended."),
        "more": _more_extensions(left),
        "warning": _("Your reservation is about to expire. Get more time if you need it.")
        if left
        else _("Your reservation is about to expire."),
    }


def _more_extensions(left: int) -> str:
    """How often the buyer can get more time; empty for not again."""
    if not left:
        return ""
    text = ngettext("You can do this once more", "You can do this %(num)d more times", left)
    return text % {"num": left}


@checkout.route("/orders/find", methods=["GET", "POST"])
def find() -> ResponseReturnValue:
    """Responds alike to every address: only the mail says whether there are orders."""
    form = EmailForm()
    is_sent = request.method == "POST"
    if not is_sent or not form.validate():
        page = render_template("orders/find.html", form=form, customer=signed_in_customer())
        return page, 422 if is_sent else 200
    shop, email = web.shop(), form.email.data
    web.limit_client(shop.settings.finds_per_address, "finds-address")
    web.limits().hit(shop.settings.finds_per_address, "finds-email", email_key(email))

    def unit(writing: Session) -> None:
        payload = {"orders": orders.newest_orders_of(writing, email), "locale": current_locale()}
        outbox.put(writing, "find_orders", f"find-{new_token()}", payload, shop.clock.now())

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")
    return render_template("orders/find_sent.html", mail_link=None)


def reject_checkout(shop: Shop, event: Event, form: CheckoutForm) -> ResponseReturnValue:
    """The event's page again, with the errors of the posted form."""
    return cast(str, _render_event(shop, event, form, None)), 422


def find_own_order(reading: Session, shop: Shop, checkout_token: str) -> Order | None:
    """The order of this checkout token, for the browser's session that placed it alone."""
    order = orders.find_by_checkout_token(reading, checkout_token)
    return order if order and is_from(reading, shop, order, web.session_name()) else None


def remembered_checkout(slug: str) -> str:
    """The checkout token of the event's order that this browser's session placed last, or ""."""
    return str(session.get("checkouts", {}).get(slug, ""))


def remember_checkout(slug: str, token: str) -> None:
    """Stores the checkout token of a placed order in the browser's session."""
    checkouts = dict(session.get("checkouts", {}))
    if checkouts.get(slug) == token:
        return
    checkouts.pop(slug, None)
    newest = list(checkouts.items())[-(_MAX_CHECKOUTS - 1) :]
    session["checkouts"] = dict([*newest, (slug, token)])


def _render_event(
    shop: Shop, event: Event, form: CheckoutForm | None, open_order: Order | None
) -> ResponseReturnValue:
    web.suggest_locale(event.language)
    now: datetime = shop.clock.now()
    benefits = own_benefits(shop, event)
    offers = listing.offers(event, now, few=shop.settings.few_left, presale=benefits.presale)
    with shop.db.reading() as reading:
        news = changes.news_of(reading, event)
    return render_template(
        "events/show.html",
        event=event,
        state=listing.event_state(event, offers, now),
        offers=offers,
        benefits=benefits,
        lower_prices={offer.id: _lower_prices(offer, benefits, event) for offer in offers},
        form=form or checkout_form(offers, event.max_at_once, customer=signed_in_customer()),
        open_order=open_order,
        # One for each page: a cookie, which others may have planted, holds none that is unused.
        checkout_token=new_token(),
        money=money_format(event.currency),
        exponent=exponent(event.currency),
        hold_minutes=shop.settings.hold_minutes,
        moved_from=news.moved_from,
        message=news.message,
    )


def _lower_prices(
    offer: listing.Offer, benefits: Benefits, event: Event
) -> list[pricing.PricedLine]:
    """At which lower prices who is signed in gets how many of these tickets."""
    prices, most = {offer.id: offer.price}, {offer.id: offer.max}
    lines = pricing.price_lines(prices, most, benefits.grants, event.currency)
    return [line for line in lines if line.grant]
