"""The balance: its transactions with fee and net, and a payout once a day."""

from __future__ import annotations

from tmt.sandbox.currencies import convert, exchange_rate
from tmt.sandbox.objects import DAY, Json, load_table, new, template
from tmt.sandbox.registry import route, timer_action
from tmt.sandbox.request_context import EVENT_RETENTION_SECONDS, RequestContext
from tmt.sandbox.simulated_methods import simulated_method

_PENDING_DAYS = 2
_REPORTING_CATEGORIES = {"payment": "charge", "payment_refund": "refund", "adjustment": "dispute"}
_AVAILABLE = "json_extract(body, '$.available_on') <= ?"


def add_transaction(
    context: RequestContext, source: Json, kind: str, amount: int, fee: int = 0, days: int = 0
) -> Json:
    """Add an amount (minor units of the source's currency), available after so many days.

    It is converted to the account's currency, which is that of the `fee`.
    """
    currency, rate = account_currency(context), None
    if source["currency"] != currency:
        rate = exchange_rate(source["currency"], currency)
        amount = convert(amount, source["currency"], currency)
    fee_part = template("balance_transaction.fee_details") | {"amount": fee, "currency": currency}
    transaction = new(
        "balance_transaction",
        context.now,
        amount=amount,
        available_on=context.now + days * DAY,
        currency=currency,
        exchange_rate=rate,
        fee=fee,
        fee_details=[fee_part] if fee else [],
        net=amount - fee,
        reporting_category=_REPORTING_CATEGORIES.get(kind, kind),
        source=source["id"],
        status="pending" if days else "available",
        type=kind,
    )
    return context.save(transaction)


def account_currency(context: RequestContext) -> str:
    """The currency of the balance."""
    return str(context.store.select("account")[0]["default_currency"])


def record_charge(context: RequestContext, charge: Json) -> str:
    """Add a captured charge, less Stripe's fee; the id of the balance transaction."""
    simulated, amount = simulated_method(charge), charge["amount_captured"]
    per_mille, fixed = load_table("simulated_methods")["kinds"][simulated.kind]["fee"]
    settled = convert(amount, charge["currency"], account_currency(context))
    fee = min(settled, (settled * per_mille + 500) // 1000 + fixed)
    days = 0 if simulated.available_at_once else _PENDING_DAYS
    kind = "charge" if simulated.kind == "card" else "payment"
    transaction = add_transaction(context, charge, kind, amount, fee, days)
    if context.store.select("refund", limit=1, pending_reason="insufficient_funds"):
        context.schedule(0, "pay_waiting_refunds", "")
    return str(transaction["id"])


def can_refund(context: RequestContext, amount: int, currency: str) -> bool:
    """Whether the balance covers a refund; Stripe's own fees are not counted."""
    own = account_currency(context)
    sql = (
        "SELECT COALESCE(SUM(json_extract(body, '$.amount')), 0) FROM objects"
        " WHERE kind = 'balance_transaction' AND json_extract(body, '$.currency') = ?"
    )
    return bool(context.store.rows(sql, (own,))[0][0] >= convert(amount, currency, own))


def _totals(context: RequestContext, available: bool) -> list[Json]:
    condition = _AVAILABLE if available else f"NOT {_AVAILABLE}"
    transactions = context.store.select("balance_transaction", [(condition, [context.now])], "ASC")
    totals: dict[str, int] = {}
    for transaction in transactions:
        currency = transaction["currency"]
        totals[currency] = totals.get(currency, 0) + transaction["net"]
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in totals.items()
    ]


@route("GET /v1/balance")
def retrieve_balance(context: RequestContext, params: Json) -> Json:
    """The available and the pending amounts by currency."""
    return {
        "object": "balance",
        "livemode": False,
        **template("balance"),
        "available": _totals(context, True),
        "pending": _totals(context, False),
    }


def schedule_daily_closing(context: RequestContext) -> None:
    """Have the day closed at the next midnight UTC, unless that is scheduled already."""
    if not context.store.table("timers", action="close_day"):
        context.schedule(DAY - context.now % DAY, "close_day", "")


@timer_action("close_day")
def close_day(context: RequestContext, _: str) -> None:
    """At midnight UTC: create payouts, and delete the events that are older than thirty days."""
    schedule_daily_closing(context)
    context.store.execute(
        "DELETE FROM objects WHERE kind = 'event' AND created < ?",
        (context.now - EVENT_RETENTION_SECONDS,),
    )
    now_available = context.store.select(
        "balance_transaction", [(_AVAILABLE, [context.now])], status="pending"
    )
    for transaction in now_available:
        context.save(transaction | {"status": "available"})
    if now_available:
        context.emit("balance.available", retrieve_balance(context, {}))
    for total in _totals(context, True):
        if total["amount"] > 0:
            _create_payout(context, total["amount"], total["currency"])


def _create_payout(context: RequestContext, amount: int, currency: str) -> None:
    not_paid_out = f"json_extract(body, '$._payout') IS NULL AND {_AVAILABLE}"
    included = context.store.select(
        "balance_transaction", [(not_paid_out, [context.now])], currency=currency
    )
    payout = new(
        "payout",
        context.now,
        amount=amount,
        arrival_date=context.now + DAY,
        currency=currency,
    )
    own = add_transaction(context, payout, "payout", -amount)
    for transaction in (own, *included):
        context.save(transaction | {"_payout": payout["id"]})
    payout["balance_transaction"] = own["id"]
    context.save_and_emit(payout, "payout.created")
    context.schedule(DAY, "complete_payout", payout["id"])


@timer_action("complete_payout")
def complete_payout(context: RequestContext, id: str) -> None:
    """A payout reaches the bank account, and its transactions can be listed."""
    changes = {"status": "paid", "reconciliation_status": "completed"}
    event_types = "payout.updated", "payout.paid", "payout.reconciliation_completed"
    context.update(context.fetch("payout", id), changes, *event_types)
