"""Plans to join, paying in place, and a member's own page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt import web
from tmt.billing import joining
from tmt.billing.access import Access, AccessReason, access_of
from tmt.billing.memberships import memberships_of
from tmt.billing.models import Invoice, Membership
from tmt.catalog.models import Plan
from tmt.catalog.plans import published_plans
from tmt.core.email_address import email_key
from tmt.core.errors import NotFound
from tmt.core.i18n import current_locale, format_date
from tmt.core.i18n import gettext as _
from tmt.core.money import format_money
from tmt.customers.accounts import customer_for
from tmt.customers.forms import EmailForm, NameForm
from tmt.customers.models import Customer
from tmt.customers.sign_in import LINK_LIFE, request_link
from tmt.customers.views import signed_in_customer, to_sign_in
from tmt.gateway.errors import GatewayError
from tmt.gateway.types import (
    ENDED_SUBSCRIPTIONS,
    InvoiceStatus,
    StripeSubscription,
    SubscriptionStatus,
)
from tmt.shop import Shop

billing = Blueprint("billing", __name__)

# Each may create a customer and a subscription at Stripe; each look at the pay page reads one.
_JOINS, _PAGES = "10 per 10 minutes", "60 per 10 minutes"
_PAYABLE = (
    SubscriptionStatus.NEW,
    SubscriptionStatus.INCOMPLETE,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.UNPAID,
)


class JoinForm(NameForm, EmailForm):
    """Who wants to join and is not signed in."""


@dataclass(frozen=True)
class ShownMembership:
    """A membership on its member's page: what happens next, and what can be done about it."""

    row: Membership
    access: Access
    invoices: Sequence[Invoice]
    text: str

    @property
    def can_pay(self) -> bool:
        return self.row.status in _PAYABLE

    @property
    def can_cancel(self) -> bool:
        is_on = self.row.status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING)
        return (is_on or self.row.status == SubscriptionStatus.PAST_DUE) and not self.row.ends_at

    @property
    def can_resume(self) -> bool:
        return self.row.ends_at is not None and self.access.reason != AccessReason.ENDED


def init_app(app: Flask) -> None:
    """Adds the pages; the account's navigation asks whether there is anything to join."""
    app.register_blueprint(billing)

    def has_plans() -> bool:
        with web.shop().db.reading() as session:
            return bool(published_plans(session))

    app.jinja_env.globals["has_plans"] = has_plans


@billing.get("/plans")
def plans() -> ResponseReturnValue:
    shop, customer = web.shop(), signed_in_customer()
    with shop.db.reading() as session:
        rows = published_plans(session)
        own = memberships_of(session, customer.id) if customer else ()
    # Who has not paid yet can join again, also another plan of the family.
    free = (*ENDED_SUBSCRIPTIONS, SubscriptionStatus.NEW, SubscriptionStatus.INCOMPLETE)
    families = {each.family for each in own if each.status not in free}
    return render_template(
        "billing/plans.html",
        plans=rows,
        customer=customer,
        families=families,
        locale=current_locale(),
    )


@billing.route("/plans/<slug>/join", methods=["GET", "POST"])
def join_plan(slug: str) -> ResponseReturnValue:
    """Who is signed in joins; anybody else is sent a link that signs them in first."""
    shop, customer = web.shop(), signed_in_customer()
    with shop.db.reading() as session:
        plan = joining.find_plan(session, slug)
    if request.method == "GET":
        return redirect(url_for("billing.plans"), 303) if customer else _join_page(plan, JoinForm())
    if customer is None:
        return _send_link(shop, plan)
    web.limits().hit(_JOINS, "joins", str(customer.id))
    try:
        membership = joining.join(shop, web.gateway(), customer.id, slug)
    except GatewayError:
        flash(_("Our payment provider is not responding. Please try again in a moment."), "bad")
        return redirect(url_for("billing.plans"), 303)
    if membership.status in _PAYABLE:
        return redirect(url_for("billing.pay", membership_id=membership.id), 303)
    return _to_memberships()


@billing.get("/account/memberships")
def memberships() -> ResponseReturnValue:
    customer, shop = signed_in_customer(), web.shop()
    if customer is None:
        return to_sign_in()
    web.suggest_locale(customer.locale)
    with shop.db.reading() as session:
        shown = [_shown(session, shop, row) for row in memberships_of(session, customer.id)]
        return render_template(
            "billing/memberships.html",
            customer=customer,
            memberships=shown,
            invoice_text=_invoice_text,
            locale=current_locale(),
        )


@billing.get("/account/memberships/<int:membership_id>/pay")
def pay(membership_id: int) -> ResponseReturnValue:
    """The open invoice, to be paid in place: the first one, or a renewal that failed."""
    customer, shop = signed_in_customer(), web.shop()
    if customer is None:
        return to_sign_in()
    web.suggest_locale(customer.locale)
    membership = _find_own(shop, customer, membership_id)
    if membership.status not in _PAYABLE:
        return _to_memberships()
    subscription = _read(shop, membership)
    invoice = subscription.latest_invoice if subscription else None
    is_open = invoice is not None and invoice.status == InvoiceStatus.OPEN
    if invoice is None or not is_open or not invoice.client_secret:
        return _to_memberships()
    returns_to = url_for("billing.return_from_stripe", membership_id=membership.id)
    element = {
        "publishable_key": shop.settings.stripe_publishable_key,
        "stripe_js_url": shop.settings.stripe_js_url,
        "client_secret": invoice.client_secret,
        "return_url": f"{shop.settings.base_url}{returns_to}",
        "order_url": url_for("billing.memberships"),
        "locale": current_locale(),
        "debits": True,
    }
    return render_template(
        "billing/pay.html",
        customer=customer,
        plan=membership.plan,
        invoice=invoice,
        pay=element,
        locale=current_locale(),
    )


@billing.get("/account/memberships/<int:membership_id>/return")
def return_from_stripe(membership_id: int) -> ResponseReturnValue:
    """Asks Stripe what became of the payment; ignores every parameter of the URL."""
    customer, shop = signed_in_customer(), web.shop()
    if customer is None:
        return to_sign_in()
    membership = _find_own(shop, customer, membership_id)
    subscription = _read(shop, membership)
    if subscription and subscription.status == SubscriptionStatus.ACTIVE:
        flash(_("Thank you! You are a member now."), "good")
    elif subscription and subscription.status in _PAYABLE:
        flash(_("Your payment is not complete yet."), "bad")
    return _to_memberships()


@billing.post("/account/memberships/<int:membership_id>/cancel")
def cancel(membership_id: int) -> ResponseReturnValue:
    return _change_end(membership_id, ends=True)


@billing.post("/account/memberships/<int:membership_id>/resume")
def resume(membership_id: int) -> ResponseReturnValue:
    return _change_end(membership_id, ends=False)


def _change_end(membership_id: int, *, ends: bool) -> ResponseReturnValue:
    customer, shop = signed_in_customer(), web.shop()
    if customer is None:
        return to_sign_in()
    membership = _find_own(shop, customer, membership_id)
    web.limits().hit(_PAGES, "memberships", str(customer.id))
    try:
        joining.end_with_period(shop, web.gateway(), membership.id, ends=ends)
    except GatewayError:
        flash(_("Our payment provider is not responding. Please try again in a moment."), "bad")
    else:
        flash(_("Your changes are saved."), "good")
    return _to_memberships()


def _read(shop: Shop, membership: Membership) -> StripeSubscription | None:
    """The subscription as Stripe has it now, applied; None, and said so, without an answer."""
    web.limits().hit(_PAGES, "memberships", str(membership.customer_id))
    try:
        return joining.start(shop, web.gateway(), membership.id)
    except GatewayError:
        flash(_("Our payment provider is not responding. Please try again in a moment."), "bad")
        return None


def _send_link(shop: Shop, plan: Plan) -> ResponseReturnValue:
    """Makes who asks a customer, and sends the link; the same answer for every address."""
    form = JoinForm()
    if not form.validate():
        return _join_page(plan, form), 422
    name, email = form.name.data, form.email.data
    web.limit_client(shop.settings.finds_per_address, "sign-in-address")
    web.limits().hit(shop.settings.finds_per_address, "sign-in-email", email_key(email))
    locale = current_locale()
    shop.db.transaction(lambda session: customer_for(session, shop, email, name, locale))
    request_link(shop, email, locale)
    return render_template("account/sign_in_sent.html", minutes=LINK_LIFE.seconds // 60)


def _join_page(plan: Plan, form: JoinForm) -> str:
    return render_template("billing/join.html", plan=plan, form=form, locale=current_locale())


def _find_own(shop: Shop, customer: Customer, membership_id: int) -> Membership:
    with shop.db.reading() as session:
        own = {each.id for each in memberships_of(session, customer.id)}
    if membership_id not in own:
        raise NotFound("no membership of this customer")
    return joining.get_membership(shop, membership_id)


def _shown(session: Session, shop: Shop, row: Membership) -> ShownMembership:
    grace = timedelta(days=shop.settings.grace_days)
    access = access_of(row, grace, shop.clock.now())
    of_row = select(Invoice).where(Invoice.membership_id == row.id)
    invoices = session.scalars(of_row.order_by(Invoice.id.desc()).limit(60)).all()
    return ShownMembership(row, access, invoices, _state_text(row, access))


def _state_text(row: Membership, access: Access) -> str:
    """What the membership gives now, what happens next, and when."""
    until = access.until or row.period_end
    values = {"date": format_date(until, "UTC")} if until else {}
    price = row.plan_price
    values["amount"] = format_money(price.amount, price.currency)
    if row.ends_at and access.is_open:
        values["date"] = format_date(row.ends_at, "UTC")
        return _("It ends on %(date)s and is not renewed.") % values
    texts = {
        AccessReason.PAID: _("It is renewed on %(date)s for %(amount)s."),
        AccessReason.GRACE: _("The last invoice is not paid. Everything stays until %(date)s."),
        AccessReason.NOT_PAID: _("It begins when the first invoice is paid."),
        AccessReason.SUSPENDED: _("It is suspended until the open invoice is paid."),
        AccessReason.PAUSED: _("It is paused."),
        AccessReason.ENDED: _("It has ended."),
        AccessReason.UNKNOWN: _("Please ask the organizer about it."),
    }
    return texts[access.reason] % values


def _invoice_text(invoice: Invoice) -> str:
    texts = {
        InvoiceStatus.DRAFT: _("draft"),
        InvoiceStatus.OPEN: _("to be paid"),
        InvoiceStatus.PAID: _("paid"),
        InvoiceStatus.VOID: _("void"),
        InvoiceStatus.UNCOLLECTIBLE: _("not paid"),
    }
    return texts.get(invoice.status, str(invoice.status))


def _to_memberships() -> ResponseReturnValue:
    return redirect(url_for("billing.memberships"), 303)
