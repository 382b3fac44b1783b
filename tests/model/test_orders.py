"""Orders, payments and stock against their model: any machine, step by step, on the real shop.

A step is a rule below: what somebody does, then the same said to the model (`expected.py`). After
every step each order must be as the model has it, and I1 and I3 must hold; at the end everything
comes to rest, and I2 and I4 too. Another step that somebody can take is another rule: `rule` for
one of the whole shop, `about` for one of an order that is as it says.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from functools import partial
from itertools import count

import pytest
import requests
import stripe
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import DATABASES
from tests.invariants import check_money, check_stock, check_tickets
from tests.model.expected import HOLD, TAKES_STOCK, Expected
from tests.shopfront import add_event, open_shop
from tmt.checkout.models import OrderStatus
from tmt.core.clock import Clock
from tmt.payments import refunds
from tmt.payments.refunds import NotRefundable

CAPACITY, OF_EACH_TYPE = 6, (4, 3)
_DAY = 24 * 60
_ORDERS = st.sampled_from([(1, 0), (0, 1), (2, 0), (1, 1), (2, 2), (4, 0)])
_IBANS = {
    "succeeded": "DE89370400440532013000",
    "requires_payment_method": "DE62370400440532013001",
}
_EVENT_TYPES = [
    f"payment_intent.{w}" for w in ("succeeded", "payment_failed", "processing", "canceled")
]
_SETTINGS = {
    "stripe_retries": 0,
    "confirms_per_address": "10000 per minute",
    "confirms_per_order": "10000 per minute",
}


def about(fits=lambda machine, order: True, **strategies):
    """A rule about one of the orders that fit; a step only when there is one."""

    def made(act):
        def step(machine, number, **more):
            fitting = [order for order in machine.all if fits(machine, order)]
            act(machine, fitting[number % len(fitting)], **more)

        step.__name__ = act.__name__
        possible = precondition(lambda machine: any(fits(machine, order) for order in machine.all))
        return possible(rule(number=st.integers(0, 9), **strategies)(step))

    return made


def payable(machine, order):
    """Whether a buyer can pay it now, if need be after a look at the pay page."""
    waits = order.intent and order.at_stripe == "requires_payment_method"
    return waits or order.begins_to_pay(machine.now)


class OrderMachine(RuleBasedStateMachine):
    """Buyers of one small event, their bank, the organiser, and the events that Stripe sends."""

    def __init__(self, front, seen):
        super().__init__()
        self.seen = seen
        self.front = front
        front.silence_stripe()
        soon = Clock().now().replace(year=Clock().now().year + 1)
        front.event = add_event(
            front.shop.db,
            slug="cuento",
            currency="eur",
            capacity=CAPACITY,
            capacities=OF_EACH_TYPE,
            starts_at=soon,
            ends_at=soon,
        )
        self.now = 0.0
        self.all: list[Expected] = []
        self.delivered: set[str] = set()
        self.buyer = front.buyer()
        self.csrf = {"csrf_token": self.buyer.csrf_token("/orders/find")}

    # What buyers do

    @initialize()
    def begin(self):
        """Two are on their pay pages already."""
        for quantities in ((1, 0), (1, 1)):
            self._place(quantities)
            self._look(self.all[-1])

    @rule(quantities=_ORDERS)
    def place(self, quantities):
        self._place(quantities)

    @about()
    def look_at_the_pay_page(self, order):
        self._look(order)

    @about()
    def come_back(self, order):
        assert self._get(order, "/return").status_code == 303
        self._begin_to_pay(order)
        order.learn(self.now)

    @about()
    def cancel(self, order):
        assert self._post(order, "/cancel").status_code == 303
        order.end(self.now, by_buyer=True)

    @about()
    def ask_for_more_time(self, order):
        assert self._post(order, "/extend").status_code == 303
        if order.may_extend(self.now):
            order.ends, order.extensions = self.now + HOLD, order.extensions + 1

    @about(payable)
    def pay_by_card(self, order):
        self.front.confirm(self._intent(order))
        order.at_stripe = "succeeded"

    # After some more the shop would end the order, which is tried elsewhere.
    @about(lambda machine, order: payable(machine, order) and order.declines < 8)
    def be_declined(self, order):
        with pytest.raises(stripe.CardError):
            self.front.confirm(self._intent(order), "pm_card_visa_chargeDeclined")
        order.declines += 1

    @about(payable)
    def be_asked_by_the_bank(self, order):
        asked = self.front.confirm(self._intent(order), "pm_card_authenticationRequired")
        order.at_stripe, order.challenge = asked.status, asked.next_action.redirect_to_url.url
        assert order.at_stripe == "requires_action"

    @about(lambda _story, order: order.at_stripe == "requires_action", done=st.booleans())
    def answer_the_bank(self, order, done):
        outcome = {"outcome": "complete" if done else "fail"}
        requests.post(order.challenge, outcome, allow_redirects=False, timeout=20)
        order.at_stripe = "succeeded" if done else "requires_payment_method"
        order.declines += not done

    @about(payable, outcome=st.sampled_from(sorted(_IBANS)))
    def pay_by_debit(self, order, outcome):
        intents = self.front.stripe.v1.payment_intents
        intents.confirm(self._intent(order), _debit(_IBANS[outcome]))
        order.at_stripe, order.decided = "processing", (self.now + 5 * _DAY, outcome)

    # What the shop does by itself, and what time does

    @rule(minutes=st.sampled_from([6, 16]))
    def minutes_pass(self, minutes):
        self._advance(minutes)

    @rule()
    def days_pass(self):
        self._advance(5 * _DAY + 1)

    @rule()
    def the_jobs_run(self):
        self.front.run_jobs()
        self.delivered.clear()
        for order in self.all:
            order.learn(self.now)
            order.end(self.now)

    # What Stripe tells, late, twice, in any order, or never

    @rule(number=st.integers(0, 99), times=st.integers(1, 2))
    def an_event_arrives(self, number, times):
        listed = self.front.stripe.v1.events.list({"limit": 100, "types": _EVENT_TYPES}).data
        if not listed:
            return
        event = listed[number % len(listed)]
        for _time in range(times):
            body = json.dumps(event.to_dict(for_json=True))
            assert self.front.deliver(body).status_code == 200
        self.delivered.add(event.data.object["id"])

    @rule()
    def the_inbox_is_read(self):
        self.front.shop.jobs.run("inbox")
        for order in self.all:
            if order.intent in self.delivered:
                order.learn(self.now)
        self.delivered.clear()

    # What the organiser does

    @about(lambda _story, order: order.status == "paid")
    def everything_is_refunded(self, order):
        refunds.issue_refund(self.front.shop, self.front.order(order.token).code)
        order.status = "refunded"

    @about(lambda _story, order: order.status != "paid")
    def nothing_can_be_refunded(self, order):
        with pytest.raises(NotRefundable):
            refunds.issue_refund(self.front.shop, self.front.order(order.token).code)

    # What must be true

    @invariant()
    def every_order_is_as_expected(self):
        for order in self.all:
            assert self.front.order(order.token).status == order.status, order
            self.seen[order.status] += 1

    @invariant()
    def nothing_is_sold_twice(self):
        held, sold = self.front.stock()
        assert held + sold == sum(sum(order.quantities) for order in self._with_tickets())
        check_stock(self.front.shop.db)
        check_tickets(self.front.shop.db)

    def teardown(self):
        with contextlib.closing(self.front):
            self._advance(HOLD + 1)
            for _again in range(2):
                self.the_jobs_run()
            self.every_order_is_as_expected()
            self.nothing_is_sold_twice()
            check_money(self.front)
            assert not [o for o in self.all if o.status == "held"]

    # How

    def _with_tickets(self):
        return [order for order in self.all if order.status in TAKES_STOCK]

    def _fits(self, quantities):
        taken = [sum(order.quantities[n] for order in self._with_tickets()) for n in range(2)]
        each = all(
            have + more <= most
            for have, more, most in zip(taken, quantities, OF_EACH_TYPE, strict=True)
        )
        return each and sum(taken) + sum(quantities) <= CAPACITY

    def _begin_to_pay(self, order):
        if order.begins_to_pay(self.now):
            order.intent = self.front.payment(self.front.order(order.token)).payment_intent_id
            assert order.intent

    def _intent(self, order):
        """The PaymentIntent that the buyer has in hand, after looking at the page if need be."""
        if order.intent is None:
            self._look(order)
        return order.intent

    def _place(self, quantities):
        answer = self.front.buyer().place(*quantities)
        if not self._fits(quantities):
            # Sold out, the event's page has no form, and so no token to post with it.
            assert answer.status_code in (400, 422)
            return
        assert answer.status_code == 303
        token = answer.headers["Location"].split("/orders/")[1].split("/")[0]
        self.all.append(Expected(token, quantities, self.now + HOLD))

    def _look(self, order):
        answer = self._get(order, "/pay")
        if order.status == "held":
            self._begin_to_pay(order)
            order.end(self.now)
            order.learn(self.now)
        assert answer.status_code == (200 if order.status == "held" else 303)

    def _get(self, order, page):
        return self.buyer.get(f"/orders/{order.token}{page}", allow_redirects=False)

    def _post(self, order, page):
        return self.buyer.post(f"/orders/{order.token}{page}", self.csrf, allow_redirects=False)

    def _advance(self, minutes):
        self.front.sandbox.advance(minutes * 60)
        self.front.clock.move(minutes=minutes)
        self.now += minutes
        for order in self.all:
            order.pass_time(self.now)


def _debit(iban):
    owner = {"name": "Ana Ejemplo", "email": "ana@example.com"}
    online = {"ip_address": "192.0.2.1", "user_agent": "test"}
    return {
        "payment_method_data": {
            "type": "sepa_debit",
            "sepa_debit": {"iban": iban},
            "billing_details": owner,
        },
        "mandate_data": {"customer_acceptance": {"type": "online", "online": online}},
        "return_url": "http://127.0.0.1/elsewhere",
    }


@pytest.fixture
def fresh(request, tmp_path):
    """Opens a shop with a database of its own, as often as it is asked to."""
    numbers = count()

    def database(kind):
        if kind == "postgresql":
            server = request.getfixturevalue("postgres")
            return server.url(server.create(request.getfixturevalue("postgres_template")))
        path = tmp_path / f"{next(numbers)}.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"

    def opened(kind):
        folder = tmp_path / f"shop-{next(numbers)}"
        folder.mkdir()
        return open_shop(database(kind), folder, _SETTINGS)

    return opened


@pytest.mark.parametrize("kind", DATABASES)
def test_a_run_in_which_an_order_is_all_that_it_can_be(fresh, kind):
    seen: Counter[str] = Counter()
    machine = OrderMachine(fresh(kind), seen)
    steps = [
        machine.begin,
        partial(machine.pay_by_card, number=0),
        partial(machine.an_event_arrives, number=0, times=2),
        machine.the_inbox_is_read,
        partial(machine.be_declined, number=0),
        partial(machine.be_asked_by_the_bank, number=0),
        partial(machine.answer_the_bank, number=0, done=False),
        partial(machine.pay_by_debit, number=0, outcome="requires_payment_method"),
        partial(machine.come_back, number=1),
        partial(machine.minutes_pass, minutes=16),
        machine.the_jobs_run,
        machine.days_pass,
        partial(machine.come_back, number=1),
        machine.the_jobs_run,
        partial(machine.place, quantities=(1, 0)),
        partial(machine.cancel, number=2),
        partial(machine.place, quantities=(4, 0)),
        partial(machine.everything_is_refunded, number=0),
        partial(machine.nothing_can_be_refunded, number=0),
        partial(machine.place, quantities=(4, 0)),
        partial(machine.ask_for_more_time, number=3),
        partial(machine.pay_by_debit, number=0, outcome="succeeded"),
        machine.days_pass,
        machine.the_jobs_run,
    ]
    for step in steps:
        step()
        machine.every_order_is_as_expected()
        machine.nothing_is_sold_twice()
    machine.teardown()
    assert set(seen) == set(OrderStatus)


def test_any_run_ends_as_the_model_says(fresh):
    seen: Counter[str] = Counter()
    quick = hypothesis_settings.default
    # A step takes too long for shrinking a run that fails, but in a long one.
    options = {} if quick.max_examples > 1000 else {"phases": [Phase.explicit, Phase.generate]}
    runs = hypothesis_settings(max_examples=quick.max_examples // 10, **options)
    run_state_machine_as_test(lambda: OrderMachine(fresh("sqlite"), seen), settings=runs)
    assert len(seen) > 2, "the runs led nowhere"
