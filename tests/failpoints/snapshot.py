"""How a scenario has ended: all that must be the same whether a process died on the way or not."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import select

from tests.customers.flows import links_in_mails
from tests.failpoints.crash_env import CrashEnv
from tmt.billing.models import Invoice, Membership
from tmt.checkout.models import Order
from tmt.core.outbox import OutboxRow
from tmt.customers.models import Customer
from tmt.gateway.inbox import InboxRow
from tmt.payments.models import Dispute, OperatorAlert, Payment, Refund
from tmt.tickets.models import Ticket


def snapshot(env: CrashEnv) -> dict[str, Any]:
    """Orders, tickets, money here and at Stripe, alerts, what was sent, and what is left to do."""
    with env.shop.db.reading() as session:

        def rows(*columns: Any) -> Counter[tuple[Any, ...]]:
            return Counter(tuple(row) for row in session.execute(select(*columns)))

        sent = rows(OutboxRow.kind, OutboxRow.done_at.is_not(None))
        # Who asks again is answered again.
        answers = sent.pop(("find_orders", True), 0) + len(links_in_mails(env))
        for kind in ("sign_in", "email_change"):
            sent.pop((kind, True), None)
        here = {
            "customers": rows(Customer.email, Customer.name, Customer.locale),
            "orders": rows(Order.status, Order.total),
            "tickets": rows(Ticket.number, Ticket.status),
            "payments": rows(Payment.status, Payment.amount_received),
            "refunds": rows(Refund.amount, Refund.status, Refund.reason),
            "disputes": rows(Dispute.amount, Dispute.status),
            "alerts": rows(OperatorAlert.kind),
            "memberships": rows(Membership.status, Membership.cancel_at_period_end),
            "invoices": rows(Invoice.status, Invoice.amount_paid),
            "outbox": sent,
            "events": rows(InboxRow.type, InboxRow.done_at.is_not(None)),
        }
    intents = env.stripe.v1.payment_intents.list({"limit": 100}).data
    refunds = env.stripe.v1.refunds.list({"limit": 100}).data
    subscriptions = env.stripe.v1.subscriptions.list({"status": "all", "limit": 100}).data
    there = {
        "stripe's subscriptions": Counter(each.status for each in subscriptions),
        "stripe's payment_intents": Counter((i.status, i.amount_received) for i in intents),
        "stripe's refunds": Counter((r.status, r.amount) for r in refunds),
        "mails": len(env.mails()) - answers,
    }
    return here | there
