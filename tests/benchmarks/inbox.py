"""Handling stored events that pay orders, against bare SQL that writes the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import count

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tests.benchmarks.bare_inbox import BareInbox
from tests.benchmarks.bare_order import BareShop
from tests.benchmarks.bench_env import DATABASES, SLUG, BenchEnv
from tests.benchmarks.load import Turns
from tests.benchmarks.order import open_shop, two_types
from tests.benchmarks.table import Row, rate_row
from tmt.billing.webhook_handlers import HANDLERS
from tmt.checkout.models import Order, OrderStatus
from tmt.core.jobs import Job
from tmt.core.outbox import OutboxRow
from tmt.gateway import inbox
from tmt.gateway.stripe_api import Gateway
from tmt.gateway.types import API_VERSION, PaymentIntentStatus, StripeEvent
from tmt.payments.models import Payment
from tmt.shop import Shop
from tmt.tickets.models import Ticket

GOAL = 0.5
_ROUNDS, _EVENTS = 5, 60
_CREATED = 1767225600
_PLACES = 3


def run(env: BenchEnv) -> list[Row]:
    """Events per second, each of which pays an order of three places, on each kind of database."""
    return [_compared(env, kind) for kind in DATABASES]


def _compared(env: BenchEnv, kind: str) -> Row:
    url = env.shop_database(kind)
    plain_url = url.replace("postgresql+psycopg:", "postgresql:")
    shop = open_shop(env.folder(), env.log_file(), url)
    # Its events trigger a job that does not run here.
    shop.jobs.define({"outbox": Job(lambda _run: None)})
    buyers, bare = BareShop(plain_url, SLUG), BareInbox(plain_url)
    place = partial(buyers.place, two_types(shop)[0])
    gateway = Gateway(shop.settings, lambda _operation, _error: None)
    turns = Turns(), Turns()
    try:
        _take_turns(shop, place, inbox.drain(shop, gateway, HANDLERS).run, bare.drain, turns)
        _check_same_work(shop)
    finally:
        buyers.close()
        bare.close()
        shop.db.close()
    return rate_row(f"handling events, {kind}", *turns, GOAL)


def _take_turns(
    shop: Shop,
    place: Callable[[], object],
    drain_inbox: Callable[[], int],
    bare: Callable[[], int],
    turns: tuple[Turns, Turns],
) -> None:
    numbers = count()
    for number in range(_ROUNDS + 1):
        for drain, mine in zip((drain_inbox, bare), turns, strict=True):
            for _event in range(_EVENTS):
                place()
                _store_event(shop, f"pi_{next(numbers)}")
            started, used = time.perf_counter(), time.process_time()
            done = drain()
            assert done == _EVENTS, done
            if number:
                seconds = time.perf_counter() - started
                mine.note(done, seconds, time.process_time() - used)


def _store_event(shop: Shop, payment_intent: str) -> None:
    """Gives the newest order this PaymentIntent, and stores Stripe's event that it succeeded."""

    def unit(session: Session) -> int:
        newest = session.scalars(select(func.max(Payment.id))).one()
        values = {"payment_intent_id": payment_intent, "status": "requires_payment_method"}
        session.execute(update(Payment).where(Payment.id == newest).values(values))
        return session.get_one(Payment, newest).amount

    amount = shop.db.transaction(unit)
    object_ = {
        "id": payment_intent,
        "object": "payment_intent",
        "status": PaymentIntentStatus.SUCCEEDED,
        "currency": "usd",
    }
    object_ |= {"amount": amount, "amount_received": amount, "created": _CREATED}
    id_, type_ = f"evt_{payment_intent}", "payment_intent.succeeded"
    assert inbox.receive(shop, StripeEvent(id_, type_, _CREATED, False, API_VERSION, object_))


def _check_same_work(shop: Shop) -> None:
    """Whoever handled its event, each order is paid, and has its tickets and its mail."""
    with shop.db.reading() as session:
        paid = select(func.count(Order.id)).where(Order.status == OrderStatus.PAID)
        orders = session.scalar(paid) or 0
        tickets = session.scalar(select(func.count(Ticket.id)))
        mails = session.scalar(select(func.count(OutboxRow.id)))
    expected = 2 * (_ROUNDS + 1) * _EVENTS
    counts = (orders, tickets, mails)
    assert counts == (expected, expected * _PLACES, expected), counts
