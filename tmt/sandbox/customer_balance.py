"""The balance of a customer: what later invoices take into account, and its transactions."""

from __future__ import annotations

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects


def change_balance(
    context: RequestContext, customer: Json, amount: int, type: str, currency: str, **fields: object
) -> Json:
    """Add an amount (minor units) to a customer's balance; a negative one is a credit.

    Stores the customer and returns the transaction, which has `fields` such as `invoice`. Raises
    ApiError (400) for another currency than the customer's.
    """
    if customer["currency"] not in (None, currency):
        raise api_error("customer_currency", "currency", currency=customer["currency"])
    balance = customer["balance"] + amount
    changes = {
        "balance": balance,
        "currency": currency,
        "invoice_credit_balance": {currency: balance} if balance else {},
    }
    context.update(customer, changes, "customer.updated")
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
    return context.save(transaction)


def own_currency(context: RequestContext, customer: Json) -> str:
    """The customer's currency, or the account's for one who has none yet."""
    account = context.store.select("account")[0]
    currency: str = customer["currency"] or account["default_currency"]
    return currency


@route("POST /v1/customers/<id>/balance_transactions")
def create_transaction(context: RequestContext, params: Json, id: str) -> Json:
    """Adjust the balance of a customer."""
    customer = context.fetch("customer", id, "customer")
    amount, currency = params["amount"], params["currency"]
    transaction = change_balance(context, customer, amount, "adjustment", currency)
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
