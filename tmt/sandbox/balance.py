"""The balance: its transactions, with fee and net."""

from __future__ import annotations

import json

from tmt.sandbox.currencies import convert, exchange_rate
from tmt.sandbox.objects import DAY, Json, load_table, new, template
from tmt.sandbox.registry import route, timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import simulated_method

_PENDING_DAYS = 2
_REPORTING_CATEGORIES = {"payment": "charge", "payment_refund": "refund", "adjustment": "dispute"}
# The condition of a transaction whose money can be used.
AVAILABLE = "json_extract(body, '$.available_on') <= ?"


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
    if not days:
        context.schedule(0, "announce_balance", "")
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


def totals(context: RequestContext, available: bool) -> list[Json]:
    """The sums of the transactions by currency: of those that are available, or of the others."""
    # Balance transactions alone have `available_on`.
    condition = AVAILABLE if available else AVAILABLE.replace("<=", ">")
    sql = (
        "SELECT json_extract(body, '$.currency') AS currency,"  # noqa: S608 - no client's
        f" SUM(json_extract(body, '$.net')) AS amount FROM objects WHERE {condition}"
        " GROUP BY json_extract(body, '$.currency') ORDER BY MIN(seq)"
    )
    rows = context.store.rows(sql, (context.now,))
    totals = {row["currency"]: row["amount"] for row in rows}
    totals.setdefault(account_currency(context), 0)
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in totals.items()
    ]


def not_paid_out(context: RequestContext, currency: str) -> list[Json]:
    """The transactions of a currency whose money can be used and is in no payout."""
    # Without the kind, SQLite takes the index of payouts.
    sql = f"SELECT body FROM objects WHERE json_extract(body, '$._payout') IS NULL AND {AVAILABLE}"  # noqa: S608
    rows = [json.loads(row["body"]) for row in context.store.rows(sql, (context.now,))]
    return [transaction for transaction in rows if transaction["currency"] == currency]


@route("GET /v1/balance")
def retrieve_balance(context: RequestContext, params: Json) -> Json:
    """The available and the pending amounts by currency."""
    return {
        "object": "balance",
        "livemode": False,
        **template("balance"),
        "available": totals(context, True),
        "pending": totals(context, False),
    }


@timer_action("announce_balance")
def announce_balance(context: RequestContext, _: str) -> None:
    """More of the balance can be used."""
    context.emit("balance.available", retrieve_balance(context, {}))
