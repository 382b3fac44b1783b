"""What each run goes through for certain, whatever its seed draws: `SITUATIONS`.

A situation counts only when it has come about, seen in the shop's database or by the party that
behaved badly. One that random trouble prevents is tried again; a run without it has failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TypeVar

import requests
from sqlalchemy import ColumnElement, select

from tests.chaos.app import set_clock_error
from tests.chaos.buyers import ChaosBuyer, GaveUp, Tally
from tests.chaos.chaos_env import ChaosEnv
from tests.chaos.parties import GONE, HANGS, REFUSES, SLOW, MailServer, Redis
from tests.chaos.plan import GRAND, KILLS, OPEN, Fault, Step, visits
from tests.racing import together
from tests.sandbox_client import NoAnswer
from tests.sandbox_store import change_object
from tests.shopfront import add_event
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.states import Trigger
from tmt.core.errors import DomainError
from tmt.operations.reconcile import sync_with_stripe
from tmt.payments.models import Dispute, Payment, Refund
from tmt.payments.refunds import issue_refund
from tmt.payments.sync import sync_from_stripe

T = TypeVar("T")
_TRIES = 8
_RACES = 4
# How long something is waited for, and how often its jobs are asked for again meanwhile.
_PATIENCE, _REMINDER = 15.0, 0.5
_AHEAD, _BEHIND, _TOLERANCE = 3 * 3600.0, -1800.0, 600.0
_MAIL_WAYS, _REDIS_WAYS = (HANGS, REFUSES, SLOW, GONE), (HANGS, GONE)
_STRIPE_WAYS = {HANGS: "hang", GONE: "reset", "fails": "500"}
# Longer than the shop waits for an answer.
_HANG_SECONDS = 4.0
# Whoever is drawn for a situation is nobody of those who come by themselves.
_FIRST_BUYER = 1000
_numbers = count()


class NotReached(Exception):
    """Something else came between: the situation did not come about."""


@dataclass
class Situations:
    """Brings the situations about in a running shop."""

    env: ChaosEnv
    tally: Tally
    mail: MailServer
    redis: Redis
    seed: int

    def bring_about(self, names: Iterable[str]) -> None:
        """Each of these in turn, again when it was prevented; counts those that came about."""
        for name in names:
            for _ in range(_TRIES):
                try:
                    SITUATIONS[name](self)
                except (GaveUp, NotReached, NoAnswer, DomainError, requests.RequestException):
                    self.tally.count("situations prevented")
                except Exception as error:  # noqa: BLE001 - it is the shop's, and the run must go on
                    self.tally.breach(f"{name}: {type(error).__name__}: {str(error)[:300]}")
                    break
                else:
                    self.tally.reach(name)
                    break

    def late_payment(self, *, sold_out: bool) -> None:
        """Stripe cannot cancel after all, and the buyer pays when the hold has ended."""
        room = self._room(1)
        late = self.buyer(room, 1)
        late.place()
        late.open_pay_page()
        self.env.stripe.dashboard("clock", advance="16m")
        self._wait(lambda: self._order(late).status.is_abandoned, "holds")
        if sold_out:
            self.buy(room, 1)
        store, payment_intent = self.env.web.store, self._payment_intent(late)
        change_object(store, payment_intent, status="requires_payment_method", canceled_at=None)
        late.pay()
        late.come_back()
        expected = OrderStatus.REFUNDED if sold_out else OrderStatus.PAID
        self._wait(lambda: self._order(late).status == expected, "inbox")

    def partial_refund(self) -> None:
        buyer = self.buy(GRAND, 2)
        refund = issue_refund(self.env.shop, self._order(buyer).code, amount=1000)
        assert refund
        self._wait(lambda: self._row(Refund, Refund.id == refund.id).status == "succeeded")

    def dispute(self, reason: str, verdict: str, *, part: bool = False) -> None:
        buyer = self.buy(GRAND, 2)
        payment_intent = self._payment_intent(buyer)
        amount = {"amount": 1500} if part else {}
        self.env.stripe.dashboard(f"payments/{payment_intent}/dispute", reason=reason, **amount)
        payment = self._row(Payment, Payment.payment_intent_id == payment_intent)
        of_payment = Dispute.payment_id == payment.id
        self._wait(lambda: self._find(Dispute, of_payment), "inbox", "reconcile")
        path = f"disputes/{self._row(Dispute, of_payment).stripe_id}/decide"
        self.env.stripe.dashboard(path, verdict=verdict)
        ends = ("warning_closed",) if reason == "inquiry" else (verdict,)
        self._wait(lambda: self._row(Dispute, of_payment).status in ends, "inbox", "reconcile")

    def clock_jump(self, seconds: float) -> None:
        """All clocks of the shop are wrong for a while, and an order is placed meanwhile."""
        store = self.env.web.store
        set_clock_error(store, seconds)
        try:
            before, buyer = self.env.stripe.now(), self.buyer(GRAND, 1)
            buyer.place()
            for job in ("holds", "inbox", "outbox"):
                self.env.shop.jobs.trigger(job)
            time.sleep(1.5)
            wrong_by = self._order(buyer).created_at.timestamp() - before
        finally:
            set_clock_error(store, 0.0)
        # Stripe's clock may have been moved on between the two.
        if abs(wrong_by - seconds) > _TOLERANCE:
            raise NotReached

    def bad_mail_server(self, way: str) -> None:
        with self.mail.behaving(way):
            self.buyer(OPEN, 1).take_a_free_ticket()

            def is_met() -> bool:
                # The job may be resting, and what is waiting may be due later.
                self.env.stripe.dashboard("clock", advance="3m")
                return self.mail.calls[way] > 0

            self._wait(is_met, "mails")
            # Money comes in meanwhile, of which only a webhook tells.
            buyer = self.buyer(GRAND, 1)
            buyer.place()
            buyer.pay()
            self._wait(partial(self._is_paid, buyer), "inbox")

    def bad_redis(self, way: str) -> None:
        with self.redis.behaving(way):
            self.buy(GRAND, 1)
            self._wait(lambda: self.redis.calls[way] > 0, "inbox")

    def bad_stripe(self, fault: str) -> None:
        """Two calls in a row, which is all that the shop makes before it says so."""
        ordered = Fault(0.0, fault, "POST /v1/payment_intents", 2, 1.0, _HANG_SECONDS)
        self.env.order_fault(ordered)
        buyer = self.buyer(GRAND, 1)
        buyer.place()
        buyer.open_pay_page()
        left = self.env.stripe.read("faults")
        if any((one["kind"], one["match"]) == (fault, ordered.match) for one in left):
            raise NotReached

    def kill(self, what: str) -> None:
        self.env.kill(Step(0.0, what, 0.0, 0.0))

    def lose_orders(self) -> ChaosBuyer | None:
        """Has orders placed that the backup lacks; the buyer of one that is not paid yet."""
        for _ in range(_TRIES):
            with suppress(GaveUp, NotReached):
                self.buy(GRAND, 2)
                self.tally.reach(RESTORED[1])
                late = self.buyer(GRAND, 1)
                late.place()
                late.open_pay_page()
                return late
        return None

    def race_for_one_order(self) -> None:
        """Webhook, return page, reconciler and buyer are at one order at the same moment."""
        for _ in range(_RACES):
            self._race_to_cancel()
            buyer = self.buyer(GRAND, 3)
            buyer.place()
            buyer.pay()
            order, payment_intent = self._order(buyer), self._payment_intent(buyer)
            shop, gateway = self.env.shop, self.env.gateway
            _at_once(
                buyer.come_back,
                buyer.cancel,
                partial(sync_from_stripe, shop, gateway, payment_intent, Trigger.WEBHOOK),
                partial(sync_with_stripe, shop, gateway, payment_intent),
            )
            self._wait(partial(self._is_paid, buyer), "inbox")
            # The organiser, twice: of the two at once, and of what they leave, all goes back once.
            _at_once(*[partial(issue_refund, shop, order.code, tickets=[1])] * 2)
            _at_once(*[partial(issue_refund, shop, order.code)] * 2)

    def _race_to_cancel(self) -> None:
        """An order whose pay page nobody has opened is canceled by several clicks at once."""
        buyer = self.buyer(GRAND, 2)
        buyer.place()
        path = f"/orders/{buyer.order}"
        data = {"csrf_token": buyer.csrf_token(path)}
        headers = {"X-Forwarded-For": buyer.visit.address}
        cookies = buyer.session.cookies.get_dict()
        # A session is not made for several threads: each click takes its cookies along.
        click = partial(requests.post, f"{buyer.url}{path}/cancel", data, timeout=60)
        _at_once(*[partial(click, headers=headers, cookies=cookies, allow_redirects=False)] * 4)

    def pay_for_lost_order(self, late: ChaosBuyer) -> None:
        """The page is still open in the browser, and Stripe knows nothing of backups."""
        payment_intent, payments = self._payment_intent(late), "payment_intent"
        for _ in range(_TRIES):
            with suppress(GaveUp):
                late.pay()
            paid = [i for i in self.env.stripe.objects(payments) if i["status"] == "succeeded"]
            if payment_intent in {intent["id"] for intent in paid}:
                self.tally.reach(RESTORED[2])
                return

    def buyer(self, event: str, *places: int) -> ChaosBuyer:
        """Somebody new who comes for these places, with a card that works."""
        number = next(_numbers)
        drawn = next(visits(self.seed, _FIRST_BUYER + number))
        card = "4242424242424242"
        visit = replace(drawn, event=event, places=places, card=card)
        return ChaosBuyer(self.env.web, self.tally, visit, f"s-{number}")

    def buy(self, event: str, *places: int) -> ChaosBuyer:
        """Somebody new has paid for these places."""
        buyer = self.buyer(event, *places)
        buyer.place()
        buyer.pay()
        buyer.come_back()
        self._wait(partial(self._is_paid, buyer), "inbox")
        return buyer

    def _is_paid(self, buyer: ChaosBuyer) -> bool:
        return self._order(buyer).status == OrderStatus.PAID

    def _room(self, capacity: int) -> str:
        """A new event with so many tickets; its slug."""
        slug = f"sala-{next(_numbers)}"
        begins = self.env.shop.clock.now() + timedelta(days=365)
        when = {"starts_at": begins, "ends_at": begins + timedelta(hours=3), "currency": "eur"}
        add_event(self.env.shop.db, slug, (4500,), (capacity,), capacity=capacity, **when)
        return slug

    def _wait(self, check: Callable[[], object], *jobs: str) -> None:
        """Until it is so, asking for the jobs meanwhile; raises `NotReached`."""
        end = time.monotonic() + _PATIENCE
        while not check():
            if time.monotonic() > end:
                raise NotReached
            for job in jobs:
                self.env.shop.jobs.trigger(job)
            time.sleep(_REMINDER)

    def _order(self, buyer: ChaosBuyer) -> Order:
        return self._row(Order, Order.token == buyer.order)

    def _payment_intent(self, buyer: ChaosBuyer) -> str:
        if buyer.details is None:
            raise NotReached
        return buyer.details[0].partition("_secret_")[0]

    def _row(self, kind: type[T], where: ColumnElement[bool]) -> T:
        row = self._find(kind, where)
        if row is None:
            raise NotReached
        return row

    def _find(self, kind: type[T], where: ColumnElement[bool]) -> T | None:
        with self.env.shop.db.reading() as session:
            return session.scalar(select(kind).where(where))


def _at_once(*actions: Callable[[], object]) -> None:
    """All at the same moment; that some of them are refused is part of it."""

    def tried(action: Callable[[], object]) -> None:
        with suppress(GaveUp, DomainError, NoAnswer, requests.RequestException):
            action()

    together(*[partial(tried, action) for action in actions])


S = Situations
SITUATIONS: dict[str, Callable[[Situations], None]] = {
    "late payment, tickets left": partial(S.late_payment, sold_out=False),
    "late payment, tickets gone": partial(S.late_payment, sold_out=True),
    "refund of a part": S.partial_refund,
    "inquiry closed": partial(S.dispute, reason="inquiry", verdict="lost"),
    "dispute won": partial(S.dispute, reason="fraudulent", verdict="won"),
    "dispute lost": partial(S.dispute, reason="product_not_received", verdict="lost"),
    "dispute about a part won": partial(S.dispute, reason="fraudulent", verdict="won", part=True),
    "dispute about a part lost": partial(S.dispute, reason="fraudulent", verdict="lost", part=True),
    "clock jumps ahead": partial(S.clock_jump, seconds=_AHEAD),
    "clock jumps back": partial(S.clock_jump, seconds=_BEHIND),
    "race for one order": S.race_for_one_order,
    **{f"mail server {way}": partial(S.bad_mail_server, way=way) for way in _MAIL_WAYS},
    **{f"Redis {way}": partial(S.bad_redis, way=way) for way in _REDIS_WAYS},
    **{f"Stripe {way}": partial(S.bad_stripe, fault=fault) for way, fault in _STRIPE_WAYS.items()},
    **{f"kills of {what}": partial(S.kill, what=what) for what in KILLS},
}
# These are the runner's, which puts the backup back.
RESTORED = ("backup restored", "order lost with it", "order lost with it, paid afterwards")
_MONEY, _DISPUTES, _CLOCK_AND_STRIPE, _RACE, _MAIL, _REDIS_AND_KILLS = (
    [name for name in SITUATIONS if name.startswith(words)]
    for words in (
        ("late", "refund"),
        ("inquiry", "dispute"),
        ("clock", "Stripe"),
        "race",
        "mail server",
        ("Redis", "kills"),
    )
)
# Before and after the backup is put back: what happens at the same time, each one after the other.
# Until then jobs and limits are in files, from then on in Redis.
BEFORE, AFTER = (_MONEY, _CLOCK_AND_STRIPE, _DISPUTES), (_RACE, _MAIL, _REDIS_AND_KILLS)
