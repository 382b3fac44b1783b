"""What happens in a shop, from the first look to the last cent: each story a function.

Between them they pass every point of the shop. A story does not know whether the process dies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import stripe
from sqlalchemy import ColumnElement, func, select

from tests.failpoints.front import Front
from tests.failpoints.spoil import spoil
from tests.sandbox.driver import Driver
from tests.stripe_line import change_at_stripe, forget_at_stripe
from tmt.checkout.models import Order
from tmt.core.outbox import OutboxRow
from tmt.payments.balances import get_refunds
from tmt.payments.models import OperatorAlert

Story = Callable[[Front], None]
STORIES: dict[str, Story] = {}
_IBANS = {"pays": "DE89370400440532013000", "bounces": "DE62370400440532013001"}


def story(tell: Story) -> Story:
    """Puts the story on the list."""
    STORIES[tell.__name__] = tell
    return tell


@story
def quiet(front: Front) -> None:
    """Nobody pays; the jobs find nothing to do."""
    front.buyer().reserve(1)


@story
def paid_and_told_by_stripe(front: Front) -> None:
    buyer = front.buyer()
    order = buyer.reserve(2, 1)
    front.confirm(buyer.open_pay_page(order))
    front.tell()
    front.run_jobs()
    assert buyer.get(f"/orders/{order.token}").status_code == 200


@story
def paid_and_back_at_the_shop(front: Front) -> None:
    buyer = front.buyer()
    order = buyer.reserve(1)
    front.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    buyer.get(f"/orders/{order.token}/status")


@story
def paid_and_never_heard_of(front: Front) -> None:
    """No event arrives and nobody comes back: the shop asks."""
    front.silent = True
    paid, refunded, disputed = (front.buyer().reserve(1) for _ in range(3))
    for order in (paid, refunded):
        front.confirm(front.buyer().open_pay_page(order))
    front.confirm(front.buyer().open_pay_page(disputed), "pm_card_createDispute")
    front.run_jobs()
    front.stripe.v1.refunds.create({"payment_intent": _intent(front, refunded)})
    front.move(days=2)
    front.run_jobs()


@story
def declined_and_tried_again(front: Front) -> None:
    buyer = front.buyer()
    order = buyer.reserve(1)
    _declined(front, buyer.open_pay_page(order))
    front.tell()
    front.run_jobs()
    front.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")


@story
def declined_too_often(front: Front) -> None:
    buyer = front.buyer()
    order = buyer.reserve(1)
    for _ in range(2):
        _declined(front, buyer.open_pay_page(order))
    front.tell()
    front.run_jobs()


@story
def never_paid(front: Front) -> None:
    buyer = front.buyer()
    opened, _unopened = buyer.reserve(1), front.buyer().reserve(1)
    buyer.open_pay_page(opened)
    buyer.post(f"/orders/{opened.token}/extend", {"csrf_token": _token(buyer, opened)})
    front.clock.move(minutes=31)
    front.run_jobs()


@story
def given_up(front: Front) -> None:
    buyer = front.buyer()
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    buyer.cancel(order)


@story
def paid_while_the_hold_ends(front: Front) -> None:
    buyer = front.buyer()
    order = buyer.reserve(1)
    front.confirm(buyer.open_pay_page(order))
    front.clock.move(minutes=16)
    front.run_jobs()


@story
def paid_too_late(front: Front) -> None:
    """The places are taken again for one; for the other there are none, and the money goes back."""
    buyer = front.buyer()
    lucky, late = buyer.reserve(0, 1), front.buyer().reserve(8)
    intents = [buyer.open_pay_page(order) for order in (lucky, late)]
    front.clock.move(minutes=16)
    front.run_jobs()
    front.ready()
    others = [front.buyer().reserve(8) for _ in range(6)]
    for intent in intents:
        change_at_stripe(front, intent, status="requires_payment_method", canceled_at=None)
        front.confirm(intent)
    front.tell()
    front.run_jobs()
    assert {front.order(order.token).status for order in others} <= {"held", "expired"}


@story
def debits(front: Front) -> None:
    """One arrives after days, one bounces after its hold has ended."""
    buyer = front.buyer()
    for fate in ("pays", "bounces"):
        order = front.buyer().reserve(1)
        _debit(front, buyer.open_pay_page(order), _IBANS[fate])
        buyer.get(f"/orders/{order.token}/return")
    front.move(minutes=20)
    front.run_jobs()
    front.move(days=6)
    front.tell()
    front.run_jobs()


@story
def given_back_whole(front: Front) -> None:
    _give_back(front, _paid(front, 2))


@story
def given_back_by_ticket(front: Front) -> None:
    _give_back(front, _paid(front, 3), "--tickets", "2", "--amount", "20")
    front.tell()


@story
def given_back_in_the_dashboard(front: Front) -> None:
    whole, partly = _paid(front, 2), _paid(front, 2)
    front.stripe.v1.refunds.create({"payment_intent": _intent(front, whole)})
    front.stripe.v1.refunds.create({"payment_intent": _intent(front, partly), "amount": 300})
    front.tell()
    front.run_jobs()


@story
def given_back_by_both_at_once(front: Front) -> None:
    """What Stripe refuses is booked as it is, and what is still owed follows."""
    buyer = front.buyer()
    order = buyer.reserve(1)
    intent = buyer.open_pay_page(order)
    front.stripe.v1.payment_intents.update(intent, {"amount": 5000})
    front.confirm(intent)
    buyer.get(f"/orders/{order.token}/return")
    front.stripe.v1.refunds.create({"payment_intent": intent, "amount": 300})
    front.run_jobs()


@story
def disputed_and_won(front: Front) -> None:
    _disputed(front, "winning_evidence")


@story
def disputed_and_lost(front: Front) -> None:
    _disputed(front, "losing_evidence")


@story
def for_nothing(front: Front) -> None:
    front.free()
    buyer = front.buyer()
    order = buyer.reserve(2)
    buyer.get(f"/orders/{order.token}")
    front.run_jobs()
    _give_back(front, order)


@story
def another_program(front: Front) -> None:
    data = {"amount": 12.5, "currency": "eur", "metadata": {}}
    made = front.api("create_payment_intent", data, **{"Idempotency-Key": "once"}).json()
    intent = made["data"]["payment_intent_id"]
    front.confirm(intent)
    for endpoint in ("confirm_payment", "get_payment_intent"):
        assert front.api(endpoint, {"payment_intent_id": intent}).status_code == 200
    front.clock.move(days=3)
    front.run_jobs()


@story
def stripe_breaks(front: Front) -> None:
    """An error of Stripe's own is kept under the key: the next try looks first, then makes anew."""
    buyer = front.buyer()
    order = buyer.reserve(1)
    Driver(front.sandbox).refuse("POST /v1/payment_intents", 500)
    assert buyer.get(f"/orders/{order.token}/pay").status_code in (200, 503)
    front.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")


@story
def stripe_is_away(front: Front) -> None:
    """What cannot be done now is done later: an event that must be read again, a refund."""
    order = _paid(front, 2)
    front.excused = True
    trouble = Driver(front.sandbox)
    front.stripe.v1.refunds.create({"payment_intent": _intent(front, order), "amount": 100})
    for call in ("GET /v1/refunds/*", "GET /v1/refunds", "POST /v1/refunds"):
        trouble.refuse(call, 500)
    front.tell()
    _give_back(front, order, "--amount", "1")
    for _ in range(3):
        front.run_jobs()
        front.clock.move(minutes=5)
    front.excused = False


@story
def by_hand(front: Front) -> None:
    """Commands: the catalogue, and what waits for a person."""
    front.seed()
    order = _paid(front, 1)
    front.stripe.v1.refunds.create({"payment_intent": _intent(front, order), "amount": 100})
    front.rest()
    front.ready()
    path = front.settings["instance"].parent / "catalogue.yaml"
    front.flask("catalog", "export", str(path))
    front.flask("catalog", "import", str(path))
    front.flask(
        "notices",
        "done",
        "1",
        unless=lambda: not _count(front, OperatorAlert.resolved_at.is_(None)),
    )
    buyer = front.buyer()
    token = buyer.csrf_token("/orders/find")
    buyer.post("/orders/find", {"email": "ana@example.com", "csrf_token": token})
    event = front.stripe.v1.events.list({"type": "payment_intent.succeeded"}).data[0].id
    front.flask("inbox", "replay", event)


@story
def nobody_can_write_mail(front: Front) -> None:
    """A mail that could not be sent is tried again when somebody says so."""
    folder = front.shop.settings.mail_folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    _paid(front, 1)
    folder.unlink()
    undone = (OutboxRow.kind == "confirmation", OutboxRow.done_at.is_(None))
    assert front.died or _count(front, *undone)
    if _count(front, *undone):
        front.flask("outbox", "retry", "1", unless=lambda: not _count(front, *undone))


@story
def looked_after(front: Front) -> None:
    """The doctor looks at everything; Stripe is told where to send its events, twice."""
    front.look("doctor")
    for _ in range(2):
        front.flask("stripe", "register-webhook")


@story
def mended(front: Front) -> None:
    """What no code of the shop does: rows are lost and changed. The audit puts them right."""
    orders = [_bought(front, 1) for _ in range(6)]
    front.run_jobs()
    front.stripe.v1.refunds.create({"payment_intent": _intent(front, orders[0])})
    front.tell()
    front.run_jobs()
    front.ready()
    front.excused = True
    spoil(front, *orders)
    front.look("audit", "--repair")
    front.excused = False


@story
def missing_at_stripe(front: Front) -> None:
    """Stripe does not know a PaymentIntent any more: a person is told, the places are kept."""
    buyer = front.buyer()
    intent = buyer.open_pay_page(buyer.reserve(1))
    forget_at_stripe(front, intent)
    front.excused = True
    front.run_jobs()


def _count(front: Front, *where: ColumnElement[bool]) -> int:
    """How many rows there are, of which all this is true."""
    with front.shop.db.reading() as session:
        return session.scalar(select(func.count()).where(*where)) or 0


def _declined(front: Front, intent: str) -> None:
    with contextlib.suppress(stripe.CardError):
        front.confirm(intent, "pm_card_chargeDeclined")


def _paid(front: Front, *quantities: int, method: str = "pm_card_visa") -> Order:
    """A paid order, its jobs done."""
    order = _bought(front, *quantities, method=method)
    front.run_jobs()
    return order


def _bought(front: Front, *quantities: int, method: str = "pm_card_visa") -> Order:
    buyer = front.buyer()
    order = buyer.reserve(*quantities)
    front.confirm(buyer.open_pay_page(order), method)
    buyer.get(f"/orders/{order.token}/return")
    return front.order(order.token)


def _give_back(front: Front, order: Order, *options: str) -> None:
    def decided() -> bool:
        with front.shop.db.reading() as session:
            reasons = {refund.reason for refund in get_refunds(session, order.id)}
        return "requested_by_customer" in reasons or front.order(order.token).status == "refunded"

    front.flask("refund", order.code, *options, unless=decided)


def _disputed(front: Front, evidence: str) -> None:
    order = _paid(front, 1, method="pm_card_createDispute")
    front.tell()
    front.run_jobs()
    (dispute,) = front.stripe.v1.disputes.list({"payment_intent": _intent(front, order)}).data
    front.stripe.v1.disputes.update(
        dispute.id, {"evidence": {"uncategorized_text": evidence}, "submit": True}
    )
    front.tell()
    front.run_jobs()
    # What waited for the decision is looked at again.
    front.clock.move(hours=7)


def _debit(front: Front, intent: str, iban: str) -> None:
    accepted = {"ip_address": "192.0.2.1", "user_agent": "test"}
    front.stripe.v1.payment_intents.confirm(
        intent,
        {
            "payment_method_data": {
                "type": "sepa_debit",
                "sepa_debit": {"iban": iban},
                "billing_details": {"name": "Ana Ejemplo", "email": "ana@example.com"},
            },
            "mandate_data": {"customer_acceptance": {"type": "online", "online": accepted}},
            "return_url": f"{front.url}/elsewhere",
        },
    )


def _intent(front: Front, order: Order) -> str:
    found = front.payment(order).payment_intent_id
    assert found
    return found


def _token(buyer: object, order: Order) -> str:
    return str(buyer.csrf_token(f"/orders/{order.token}/pay"))  # type: ignore[attr-defined]
