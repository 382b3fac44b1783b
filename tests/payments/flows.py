"""What buyers, staff and jobs do in the tests of payments, and what is there afterwards."""

from __future__ import annotations

from sqlalchemy import select

from tmt.payments.models import OperatorAlert, Refund


def english_buyer(shopfront):
    """A buyer who reads English."""
    buyer = shopfront.buyer()
    buyer.session.headers["Accept-Language"] = "en"
    return buyer


def order_page(shopfront, order):
    return english_buyer(shopfront).get(f"/orders/{order.token}").text


def paid(shopfront, *quantities, method="pm_card_visa"):
    """A paid order, its jobs done."""
    buyer = english_buyer(shopfront)
    order = buyer.reserve(*quantities or (3,))
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi, method)
    buyer.get(f"/orders/{order.token}/return")
    run_until_idle(shopfront)
    return shopfront.order(order.token), pi


def take_voucher(shopfront, pi, email="fill_never@example.com"):
    """Confirms with OXXO as the buyer's browser does."""
    method = {"type": "oxxo", "billing_details": {"name": "Ana Ejemplo", "email": email}}
    params = {"payment_method_data": method, "return_url": f"{shopfront.url}/elsewhere"}
    return shopfront.stripe.v1.payment_intents.confirm(pi, params)


def run_until_idle(shopfront):
    """Delivers webhooks and runs the jobs until nothing is left to do."""
    for _ in range(2):
        shopfront.run_jobs()
        shopfront.sandbox.deliver()
    shopfront.run_jobs()


def flask(shopfront, *command):
    return shopfront.app.test_cli_runner().invoke(args=list(command))


def refunds(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(Refund).order_by(Refund.id)).all()


def alert_kinds(shopfront):
    with shopfront.shop.db.reading() as session:
        return [alert.kind for alert in session.scalars(select(OperatorAlert))]


def ticket_statuses(shopfront, order):
    return [ticket.status for ticket in shopfront.tickets(order)]
