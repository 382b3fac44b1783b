"""What the organiser decides to give back: an order, a part of its money, some of its tickets."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.checkout.states import PAID, REFUNDED, Cause, locked_order, move
from tmt.core.errors import NotFound, Refusal
from tmt.payments.ledger import (
    end_if_nothing_is_left,
    is_disputed,
    left_of,
    net_paid,
    payments_of,
    return_places,
)
from tmt.payments.models import Refund
from tmt.payments.refunds import owe_refund
from tmt.shop import Shop
from tmt.tickets.issue import tickets_of
from tmt.tickets.models import VOID, Ticket

log = structlog.get_logger(__name__)


class NotRefundable(Refusal):
    """The order was never paid, or all of its money has gone back."""


class Disputed(Refusal):
    """A dispute over the order is undecided: answer it in Stripe's dashboard instead."""


class TooMuch(Refusal):
    """More than what is left of what was paid."""


class NoSuchTicket(Refusal):
    """The order has no such ticket, or it is void."""


def give_back(
    shop: Shop,
    code: str,
    *,
    amount: int | None = None,
    tickets: Sequence[int] = (),
    reason: str = "requested_by_customer",
) -> list[Refund]:
    """Decides on refunds of the order; the jobs send them.

    Without amount and tickets all that is left goes back and the order ends. With ticket numbers
    those tickets become void at once and their places are for sale again; the amount is then
    their price, unless one is given (minor units; 0 gives back no money). An amount alone leaves
    the tickets valid, unless nothing is left.

    Raises `NotFound`, `NotRefundable`, `Disputed`, `TooMuch` or `NoSuchTicket`, with nothing done.
    """

    def unit(session: Session) -> list[Refund]:
        order = _order(session, code)
        wanted = _tickets(session, order, tickets)
        total = _amount(session, order, amount, wanted)
        made = _refunds(session, shop, order, total, reason, [t.number for t in wanted])
        _void(session, shop, order, wanted, everything=amount is None and not tickets)
        return made

    made = shop.db.transaction(unit)
    shop.jobs.nudge("outbox")
    log.info("refund.decided", order=code, amount=sum(r.amount for r in made), reason=reason)
    return made


def _order(session: Session, code: str) -> Order:
    order_id = session.scalar(select(Order.id).where(Order.code == code.upper()))
    if order_id is None:
        raise NotFound(f"no order {code[:20]}")
    order = locked_order(session, order_id)
    if order.status not in (PAID, REFUNDED):
        raise NotRefundable(f"order {order.code} is {order.status}: nothing was paid for it")
    if is_disputed(session, order.id):
        raise Disputed(f"order {order.code} is disputed: respond to it in Stripe first")
    return order


def _tickets(session: Session, order: Order, numbers: Sequence[int]) -> list[Ticket]:
    standing = {t.number: t for t in tickets_of(session, order.id) if t.status != VOID}
    missing = sorted(set(numbers) - standing.keys())
    if missing:
        raise NoSuchTicket(f"order {order.code} has no valid ticket {missing[0]}")
    return [standing[number] for number in sorted(set(numbers))]


def _amount(session: Session, order: Order, amount: int | None, tickets: list[Ticket]) -> int:
    left = net_paid(session, order)
    if amount is None:
        # What was given back of a ticket's price before cannot be given back again.
        amount = min(sum(t.price for t in tickets), left) if tickets else left
    if not 0 <= amount <= left:
        raise TooMuch(f"order {order.code} has {left} left of what was paid (minor units)")
    if order.status == REFUNDED and amount == 0:
        raise NotRefundable(f"order {order.code} is refunded already")
    return amount


def _refunds(
    session: Session, shop: Shop, order: Order, total: int, reason: str, numbers: list[int]
) -> list[Refund]:
    """Takes the amount out of the order's payments, the newest first."""
    made: list[Refund] = []
    for payment in payments_of(session, order.id):
        if payment.received_currency != order.currency:
            continue
        part = min(left_of(session, payment), total)
        if part or (numbers and not made and not total):
            made.append(owe_refund(session, payment, part, reason, shop.clock.now(), numbers))
            total -= part
    return made


def _void(
    session: Session, shop: Shop, order: Order, tickets: list[Ticket], *, everything: bool
) -> None:
    now = shop.clock.now()
    if tickets:
        return_places(session, order, [t.number for t in tickets])
    session.flush()
    none_left = all(t.status == VOID for t in tickets_of(session, order.id))
    if order.total == 0 and order.status == PAID and (everything or none_left):
        # A free order ends with its tickets: there is no money to tell by.
        return_places(session, order, None)
        move(session, order, REFUNDED, Cause.STAFF, now)
    elif order.total:
        end_if_nothing_is_left(session, order, Cause.STAFF, now)
