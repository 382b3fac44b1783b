"""The money: balance transactions with fee and net, the balance, a payout once a day."""

from __future__ import annotations

from tmt.sandbox.behaviours import behaviour
from tmt.sandbox.call import EVENTS_KEPT_SECONDS, Call
from tmt.sandbox.shape import DAY, Json, known, new, part

_PENDING_DAYS = 2
_CATEGORIES = {"payment": "charge", "payment_refund": "refund", "adjustment": "dispute"}
_AVAILABLE = "json_extract(body, '$.available_on') <= ?"


def book(call: Call, source: Json, kind: str, amount: int, fee: int = 0, days: int = 0) -> Json:
    """Write `amount - fee` (minor units) to the balance, available after so many days."""
    currency = source["currency"]
    return call.save(new(
        "balance_transaction", call.now, amount=amount, available_on=call.now + days * DAY,
        currency=currency, fee=fee, net=amount - fee,
        fee_details=[part("stripe_fee") | {"amount": fee, "currency": currency}] if fee else [],
        reporting_category=_CATEGORIES.get(kind, kind), source=source["id"],
        status="pending" if days else "available", type=kind,
    ))  # fmt: skip


def book_charge(call: Call, charge: Json) -> str:
    """Put a captured charge on the balance, less Stripe's fee; the balance transaction's id."""
    test, amount = behaviour(charge), charge["amount_captured"]
    share, fixed = known("methods")["kinds"][test.kind]["fee"]
    fee = min(amount, (amount * share + 500) // 1000 + fixed)
    days = 0 if test.available_at_once else _PENDING_DAYS
    entry = book(call, charge, "charge" if test.kind == "card" else "payment", amount, fee, days)
    if call.store.select("refund", limit=1, pending_reason="insufficient_funds"):
        call.later(0, "after_paying.pay_waiting_refunds", charge["currency"])
    return str(entry["id"])


def covers(call: Call, amount: int, currency: str) -> bool:
    """Whether the balance can pay a refund; Stripe's own fees do not stand in its way."""
    sql = (
        "SELECT COALESCE(SUM(json_extract(body, '$.amount')), 0) FROM objects"
        " WHERE kind = 'balance_transaction' AND json_extract(body, '$.currency') = ?"
    )
    return bool(call.store.rows(sql, (currency,))[0][0] >= amount)


def _sums(call: Call, available: bool) -> list[Json]:
    edge = _AVAILABLE if available else f"NOT {_AVAILABLE}"
    sums: dict[str, int] = {}
    for entry in call.store.select("balance_transaction", [(edge, [call.now])], "ASC"):
        sums[entry["currency"]] = sums.get(entry["currency"], 0) + entry["net"]
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sums.items()
    ]


def balance(call: Call, p: Json) -> Json:
    """GET /v1/balance."""
    sums = {"available": _sums(call, True), "pending": _sums(call, False)}
    return {"object": "balance", "livemode": False, **part("balance"), **sums}


def midnight(call: Call, _: str) -> None:
    """Timer, each day at midnight UTC: payouts, and events older than thirty days are forgotten."""
    call.later(DAY - call.now % DAY, "money.midnight", "")
    sql = "DELETE FROM objects WHERE kind = 'event' AND created < ?"
    call.store.execute(sql, (call.now - EVENTS_KEPT_SECONDS,))
    entries = call.store.select("balance_transaction", [(_AVAILABLE, [call.now])], status="pending")
    for entry in entries:
        call.save(entry | {"status": "available"})
    if entries:
        call.emit("balance.available", balance(call, {}))
    for row in _sums(call, True):
        if row["amount"] > 0:
            _pay_out(call, row["amount"], row["currency"])


def _pay_out(call: Call, amount: int, currency: str) -> None:
    unpaid = f"json_extract(body, '$._payout') IS NULL AND {_AVAILABLE}"
    covered = call.store.select("balance_transaction", [(unpaid, [call.now])], currency=currency)
    payout = new("payout", call.now, amount=amount, currency=currency, arrival_date=call.now + DAY)
    entry = book(call, payout, "payout", -amount)
    for other in (entry, *covered):
        call.save(other | {"_payout": payout["id"]})
    payout["balance_transaction"] = entry["id"]
    call.tell(payout, "payout.created")
    call.later(DAY, "money.payout_arrives", payout["id"])


def payout_arrives(call: Call, id: str) -> None:
    """Timer: a payout is on the bank account, and what it holds can be listed."""
    arrived = {"status": "paid", "reconciliation_status": "completed"}
    events = "payout.updated", "payout.paid", "payout.reconciliation_completed"
    call.change(call.fetch("payout", id), arrived, *events)
