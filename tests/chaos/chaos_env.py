"""What happens around the buyers: faults at Stripe, kills, time, and the organiser at work."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import requests
from sqlalchemy import select

from tests.chaos.buyers import ORDERED, Tally, client_of
from tests.chaos.plan import Fault, Step
from tests.deployment import Deployment
from tests.sandbox_client import NoAnswer
from tmt.checkout.models import Order, OrderStatus
from tmt.core.errors import DomainError
from tmt.gateway.stripe_api import Gateway
from tmt.payments.models import Payment
from tmt.payments.refunds import issue_refund
from tmt.shop import Shop
from tmt.tickets.issue import get_tickets
from tmt.tickets.models import TicketStatus

T = TypeVar("T", Fault, Step)
# Jobs run every minute of the machine's time; here a minute passes faster.
_MINUTE = 4.0


@dataclass
class ChaosEnv:
    """The surroundings of the buyers; each method does one thing that the plan names."""

    web: Deployment
    shop: Shop
    gateway: Gateway
    tally: Tally
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.stripe = client_of(self.web)
        self._killing = threading.Lock()

    def follow(self, began: float, steps: Sequence[T], act: Callable[[T], None]) -> None:
        """Acts on each step when its time has come, until the run ends."""
        for step in steps:
            if self.stopping.wait(max(0.0, began + step.at - time.monotonic())):
                return
            act(step)

    def pass_minutes(self) -> None:
        """Asks the job processes to run every job, again and again."""
        while not self.stopping.wait(_MINUTE):
            for job in self.shop.jobs._jobs:
                self.shop.jobs.trigger(job)

    def order_fault(self, fault: Fault) -> None:
        """Orders a fault at Stripe."""
        settings = {name: value for name, value in asdict(fault).items() if name != "at" and value}
        self.stripe.dashboard("faults", **settings)
        self.tally.count("faults ordered")
        self.tally.count(ORDERED, fault.times)

    def kill(self, step: Step) -> None:
        """Kills a process, which its supervisor starts again."""
        # One at a time: two that restart the same program would start it twice.
        with self._killing:
            if step.what == "worker":
                workers = self.web.web.children()
                if workers:
                    os.kill(workers[int(step.which * len(workers))], signal.SIGKILL)
            elif step.what == "jobs":
                self.web.jobs[int(step.which * len(self.web.jobs))].restart(step.size)
            else:
                for program in self.web.shop_programs:
                    program.restart()
        self.tally.count(f"kills of {step.what}")

    def move(self, step: Step) -> None:
        """Lets time pass, at Stripe and in the shop."""
        try:
            self.stripe.dashboard("clock", advance=step.what)
        except (NoAnswer, requests.RequestException) as error:
            self.tally.breach(f"the sandbox's clock could not be moved by {step.what}: {error}")

    def act_as_organiser(self, step: Step) -> None:
        """The organiser gives money back, here or in the dashboard; a bank takes it back."""
        try:
            getattr(self, f"_{step.what}")(step)
        except (DomainError, NoAnswer, requests.RequestException) as error:
            self.tally.count("deeds refused")
            self.tally.count(f"{step.what} refused: {type(error).__name__}")
        else:
            self.tally.count("deeds")

    def _refund_all(self, step: Step) -> None:
        issue_refund(self.shop, self._a_paid_order(step).code)

    def _refund_amount(self, step: Step) -> None:
        order = self._a_paid_order(step)
        issue_refund(self.shop, order.code, amount=max(1, int(order.total * step.size)))

    def _refund_tickets(self, step: Step) -> None:
        order = self._a_paid_order(step)
        with self.shop.db.reading() as session:
            issued = get_tickets(session, order.id)
        valid = [ticket.number for ticket in issued if ticket.status != TicketStatus.VOID]
        chosen = valid[: max(1, int(len(valid) * step.size))]
        issue_refund(self.shop, order.code, tickets=chosen)

    def _refund_in_dashboard(self, step: Step) -> None:
        order = self._a_paid_order(step)
        amount = {"amount": max(1, int(order.total * step.size))} if step.size < 0.7 else {}
        self.stripe.dashboard(f"payments/{self._paid_with(order)}/refund", **amount)

    def _dispute(self, step: Step) -> None:
        reason = ("fraudulent", "product_not_received", "inquiry")[int(step.size * 3)]
        order = self._a_paid_order(step)
        amount = {"amount": max(1, int(order.total * step.which))} if step.size < 0.5 else {}
        path = f"payments/{self._paid_with(order)}/dispute"
        self.stripe.dashboard(path, reason=reason, **amount)

    def _decide_dispute(self, step: Step) -> None:
        disputes = self.stripe.objects("dispute")
        waiting = [d for d in disputes if d["status"].endswith(("needs_response", "under_review"))]
        if waiting:
            dispute = waiting[int(step.which * len(waiting))]
            verdict = "won" if step.size < 0.5 else "lost"
            self.stripe.dashboard(f"disputes/{dispute['id']}/decide", verdict=verdict)

    def _ask_again(self, step: Step) -> None:
        """A program asks the JSON endpoint about an old order's payment."""
        data = {"data": {"payment_intent_id": self._paid_with(self._a_paid_order(step))}}
        # 500 is how this endpoint says that Stripe does not answer; the log tells what it was.
        requests.post(f"{self.web.url}/stripe_confirm_payment", json=data, timeout=60)
        self.tally.count("requests")

    def _a_paid_order(self, step: Step) -> Order:
        query = (
            select(Order)
            .where(Order.status == OrderStatus.PAID, Order.total > 0)
            .order_by(Order.id)
        )
        with self.shop.db.reading() as session:
            orders = session.scalars(query).all()
        if not orders:
            raise NoAnswer("nobody has paid yet")
        return orders[int(step.which * len(orders))]

    def _paid_with(self, order: Order) -> str:
        query = select(Payment.payment_intent_id).where(Payment.order_id == order.id)
        with self.shop.db.reading() as session:
            return str(session.scalars(query).one())
