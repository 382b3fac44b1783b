"""The money: balance transactions with fee and net, the balance, a payout once a day."""

from __future__ import annotations

from tmt.sandbox.objects import DAY, Json, load_table, new, template
from tmt.sandbox.request_context import EVENTS_KEPT_SECONDS, RequestContext
from tmt.sandbox.simulated_methods import simulated_method

_PENDING_DAYS = 2
_CATEGORIES = {"payment": "charge", "payment_refund": "refund", "adjustment": "dispute"}
_AVAILABLE = "json_extract(body, '$.available_on') <= ?"


def book(
    context: RequestContext, source: Json, kind: str, amount: int, fee: int = 0, days: int = 0
) -> Json:
    """Write `amount - fee` (minor units) to the balance, available after so many days."""
    currency = source["currency"]
    return context.save(new(
        "balance_transaction", context.now, amount=amount, available_on=context.now + days * DAY,
        currency=currency, fee=fee, net=amount - fee,
        fee_details=[template("stripe_fee") | {"amount": fee, "currency": currency}] if fee else [],
        reporting_category=_CATEGORIES.get(kind, kind), source=source["id"],
        status="pending" if days else "available", type=kind,
    ))  # fmt: skip


def book_charge(context: RequestContext, charge: Json) -> str:
    """Put a captured charge on the balance, less Stripe's fee; the balance transaction's id."""
    test, amount = simulated_method(charge), charge["amount_captured"]
    share, fixed = load_table("simulated_methods")["kinds"][test.kind]["fee"]
    fee = min(amount, (amount * share + 500) // 1000 + fixed)
    days = 0 if test.available_at_once else _PENDING_DAYS
    entry = book(context, charge, "charge" if test.kind == "card" else "payment", amount, fee, days)
    if context.store.select("refund", limit=1, pending_reason="insufficient_funds"):
        context.schedule(0, "refunds_disputes.pay_waiting_refunds", charge["currency"])
    return str(entry["id"])


def covers(context: RequestContext, amount: int, currency: str) -> bool:
    """Whether the balance can pay a refund; Stripe's own fees do not stand in its way."""
    sql = (
        "SELECT COALESCE(SUM(json_extract(body, '$.amount')), 0) FROM objects"
        " WHERE kind = 'balance_transaction' AND json_extract(body, '$.currency') = ?"
    )
    return bool(context.store.rows(sql, (currency,))[0][0] >= amount)


def _sums(context: RequestContext, available: bool) -> list[Json]:
    edge = _AVAILABLE if available else f"NOT {_AVAILABLE}"
    sums: dict[str, int] = {}
    for entry in context.store.select("balance_transaction", [(edge, [context.now])], "ASC"):
        sums[entry["currency"]] = sums.get(entry["currency"], 0) + entry["net"]
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sums.items()
    ]


def balance(context: RequestContext, p: Json) -> Json:
    """GET /v1/balance."""
    sums = {"available": _sums(context, True), "pending": _sums(context, False)}
    return {"object": "balance", "livemode": False, **template("balance"), **sums}


def midnight(context: RequestContext, _: str) -> None:
    """Timer, each day at midnight UTC: payouts, and events older than thirty days are forgotten."""
    context.schedule(DAY - context.now % DAY, "balance.midnight", "")
    sql = "DELETE FROM objects WHERE kind = 'event' AND created < ?"
    context.store.execute(sql, (context.now - EVENTS_KEPT_SECONDS,))
    entries = context.store.select(
        "balance_transaction", [(_AVAILABLE, [context.now])], status="pending"
    )
    for entry in entries:
        context.save(entry | {"status": "available"})
    if entries:
        context.emit("balance.available", balance(context, {}))
    for row in _sums(context, True):
        if row["amount"] > 0:
            _pay_out(context, row["amount"], row["currency"])


def _pay_out(context: RequestContext, amount: int, currency: str) -> None:
    unpaid = f"json_extract(body, '$._payout') IS NULL AND {_AVAILABLE}"
    covered = context.store.select(
        "balance_transaction", [(unpaid, [context.now])], currency=currency
    )
    payout = new(
        "payout", context.now, amount=amount, currency=currency, arrival_date=context.now + DAY
    )
    entry = book(context, payout, "payout", -amount)
    for other in (entry, *covered):
        context.save(other | {"_payout": payout["id"]})
    payout["balance_transaction"] = entry["id"]
    context.save_and_emit(payout, "payout.created")
    context.schedule(DAY, "balance.payout_arrives", payout["id"])


def payout_arrives(context: RequestContext, id: str) -> None:
    """Timer: a payout is on the bank account, and what it holds can be listed."""
    arrived = {"status": "paid", "reconciliation_status": "completed"}
    events = "payout.updated", "payout.paid", "payout.reconciliation_completed"
    context.update(context.fetch("payout", id), arrived, *events)
