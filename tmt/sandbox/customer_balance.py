"""The balance of a customer: what later invoices take into account, and its transactions."""

from __future__ import annotations

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects


def record_transaction(
    context: RequestContext, customer: Json, amount: int, type: str, currency: str, **fields: object
) -> tuple[Json, Json]:
    """Record an amount (minor units) that is added to a customer's balance; a credit is negative.

    Returns the changes of the customer, which the caller stores, and the transaction, which has
    `fields` such as `invoice`. Raises ApiError (400) for another currency than the customer's.
    """
    if customer["currency"] not in (None, currency):
        raise api_error("customer_currency", "currency", currency=customer["currency"])
    balance = customer["balance"] + amount
    changes = {
        "balance": balance,
        "currency": currency,
        "invoice_credit_balance": {currency: balance} if balance else {},
    }
    transaction = new(
        "customer_balance_transaction",
        context.now,
        amount=amount,
        currency=currency,
        customer=customer["id"],
        ending_balance=balance,
        type=type,
        **fields,
    )
    return changes, context.save(transaction)


def set_balance(context: RequestContext, customer: Json, balance: int, type: str) -> Json:
    """Record what makes the balance this one; returns the changes of the customer.

    The currency is the customer's or, of one who has none yet, the account's.
    """
    amount = balance - customer["balance"]
    if not amount:
        return {}
    account = context.store.select("account")[0]
    currency = customer["currency"] or account["default_currency"]
    return record_transaction(context, customer, amount, type, currency)[0]


@route("POST /v1/customers/<id>/balance_transactions")
def create_transaction(context: RequestContext, params: Json, id: str) -> Json:
    """Adjust the balance of a customer."""
    customer = context.fetch("customer", id)
    amount, currency = params["amount"], params["currency"]
    changes, transaction = record_transaction(context, customer, amount, "adjustment", currency)
    context.update(customer, changes, "customer.updated")
    return context.save(transaction | field_changes(transaction, params))


@route("GET /v1/customers/<id>/balance_transactions")
def list_transactions(context: RequestContext, params: Json, id: str) -> Json:
    """The transactions of a customer's balance."""
    context.fetch("customer", id)
    return list_objects(context, {**params, "customer": id}, "customer_balance_transaction")


@route("GET /v1/customers/<id>/balance_transactions/<transaction>")
def retrieve_transaction(context: RequestContext, params: Json, id: str, transaction: str) -> Json:
    """A transaction of a customer's balance."""
    body = context.fetch("customer_balance_transaction", transaction)
    if body["customer"] != id:
        label = "customer balance transaction"
        raise api_error("resource_missing", "id", label=label, id=transaction[:255])
    return body


@route("POST /v1/customers/<id>/balance_transactions/<transaction>")
def update_transaction(context: RequestContext, params: Json, id: str, transaction: str) -> Json:
    """Update the description or the metadata of a transaction."""
    body = retrieve_transaction(context, {}, id, transaction)
    return context.update(body, field_changes(body, params))
