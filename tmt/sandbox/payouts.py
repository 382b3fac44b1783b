"""Payouts to the account's bank: of everything that is available once a day, or by request."""

from __future__ import annotations

from tmt.sandbox import balance
from tmt.sandbox.currencies import convert, format_amount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import DAY, Json, new
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import route, timer_action
from tmt.sandbox.request_context import EVENT_RETENTION_SECONDS, RequestContext

_PAYOUT_SECONDS = DAY


def schedule_daily_closing(context: RequestContext) -> None:
    """Have the day closed at the next midnight UTC, unless that is scheduled already."""
    if not context.store.table("timers", action="close_day"):
        context.schedule(DAY - context.now % DAY, "close_day", "")


@timer_action("close_day")
def close_day(context: RequestContext, _: str) -> None:
    """At midnight UTC: create a payout, and delete the events that are older than thirty days."""
    schedule_daily_closing(context)
    context.store.execute(
        "DELETE FROM objects WHERE kind = 'event' AND created < ?",
        (context.now - EVENT_RETENTION_SECONDS,),
    )
    now_available = context.store.select(
        "balance_transaction", [(balance.AVAILABLE, [context.now])], status="pending"
    )
    for transaction in now_available:
        context.save(transaction | {"status": "available"})
    if now_available:
        balance.announce_balance(context, "")
    for total in balance.totals(context, True):
        if total["amount"] > 0:
            payout = _new_payout(context, total["amount"], total["currency"])
            for transaction in balance.not_paid_out(context, total["currency"]):
                context.save(transaction | {"_payout": payout["id"]})
            _send(context, payout)


@route("POST /v1/payouts")
def create_payout(context: RequestContext, params: Json) -> Json:
    """Pay out a part of what is available; it is not said which transactions are in it."""
    amount, currency = params["amount"], params["currency"]
    if amount < 1:
        raise api_error("too_low", "amount")
    own = balance.account_currency(context)
    available = sum(total["amount"] for total in balance.totals(context, True))
    if convert(amount, currency, own) > available:
        raise api_error("balance_insufficient", available=format_amount(available, own))
    payout = _new_payout(context, amount, currency)
    changes = {"automatic": False, "reconciliation_status": "not_applicable", "description": None}
    payout |= changes | {"status": "pending"}
    return _send(context, payout | field_changes(payout, params))


@route("POST /v1/payouts/<id>/cancel")
def cancel_payout(context: RequestContext, params: Json, id: str) -> Json:
    """Cancel a payout that is not on its way yet; the money is available again."""
    payout = context.fetch("payout", id)
    if payout["status"] != "pending":
        raise api_error("payout_not_cancelable", status=payout["status"])
    back = balance.add_transaction(context, payout, "payout_cancel", payout["amount"])
    changes = {"status": "canceled", "failure_balance_transaction": back["id"]}
    return context.update(payout, changes, "payout.canceled")


def _new_payout(context: RequestContext, amount: int, currency: str) -> Json:
    arrival = context.now + _PAYOUT_SECONDS
    payout = new("payout", context.now, amount=amount, arrival_date=arrival, currency=currency)
    own = balance.add_transaction(context, payout, "payout", -amount)
    context.save(own | {"_payout": payout["id"]})
    return payout | {"balance_transaction": own["id"]}


def _send(context: RequestContext, payout: Json) -> Json:
    context.schedule(_PAYOUT_SECONDS, "complete_payout", payout["id"])
    return context.save_and_emit(payout, "payout.created")


@timer_action("complete_payout")
def complete_payout(context: RequestContext, id: str) -> None:
    """A payout reaches the bank account, and its transactions can be listed."""
    payout = context.fetch("payout", id)
    if payout["status"] == "canceled":
        return
    changes, event_types = {"status": "paid"}, ["payout.updated", "payout.paid"]
    if payout["automatic"]:
        changes["reconciliation_status"] = "completed"
        event_types.append("payout.reconciliation_completed")
    context.update(payout, changes, *event_types)
