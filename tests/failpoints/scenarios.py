"""What happens in a shop, from the first look to the last cent: each scenario a function.

What the organiser does is in `organiser_scenarios`.

Between them they pass every failpoint. A scenario does not know whether the process dies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

import stripe
from sqlalchemy import ColumnElement, func, select

from tests.customers import flows as customers
from tests.failpoints.crash_env import CrashEnv
from tests.payments.flows import take_voucher
from tests.sandbox.driver import Driver
from tests.sandbox_store import change_at_stripe
from tests.stripe_answers import StripeAnswers
from tmt.checkout.models import Order
from tmt.customers.models import Customer
from tmt.payments.balances import get_refunds
from tmt.payments.confirm_email import link_key
from tmt.payments.models import OperatorAlert
from tmt.payments.ownership import get_identity

Scenario = Callable[[CrashEnv], None]
SCENARIOS: dict[str, Scenario] = {}
_IBANS = {"pays": "DE89370400440532013000", "bounces": "DE62370400440532013001"}


def scenario(act: Scenario) -> Scenario:
    """Puts the scenario on the list."""
    SCENARIOS[act.__name__] = act
    return act


@scenario
def quiet(env: CrashEnv) -> None:
    """Nobody pays; the jobs find nothing to do."""
    env.buyer().reserve(1)


@scenario
def paid_and_webhook_received(env: CrashEnv) -> None:
    buyer = env.buyer()
    order = buyer.reserve(2, 1)
    env.confirm(buyer.open_pay_page(order))
    env.deliver_events()
    env.run_jobs()
    assert buyer.get(f"/orders/{order.token}").status_code == 200


@scenario
def paid_and_back_at_the_shop(env: CrashEnv) -> None:
    buyer = env.buyer()
    order = buyer.reserve(1)
    env.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    buyer.get(f"/orders/{order.token}/status")


@scenario
def paid_without_webhook(env: CrashEnv) -> None:
    """No event arrives and nobody comes back: the shop asks."""
    env.silent = True
    paid, refunded, disputed = (env.buyer().reserve(1) for _ in range(3))
    for order in (paid, refunded):
        env.confirm(env.buyer().open_pay_page(order))
    env.confirm(env.buyer().open_pay_page(disputed), "pm_card_createDispute")
    env.run_jobs()
    env.stripe.v1.refunds.create({"payment_intent": intent_of(env, refunded)})
    env.move(days=2)
    env.run_jobs()


@scenario
def declined_and_tried_again(env: CrashEnv) -> None:
    buyer = env.buyer()
    order = buyer.reserve(1)
    _declined(env, buyer.open_pay_page(order))
    env.deliver_events()
    env.run_jobs()
    env.move(minutes=1)
    buyer.post(f"/orders/{order.token}/extend", {"csrf_token": _token(buyer, order)})
    buyer.get(f"/orders/{order.token}/status")
    # Away for long enough to be written to, and with time left to pay if a process dies now.
    env.move(minutes=6)
    env.run_jobs()
    env.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")


@scenario
def declined_too_often(env: CrashEnv) -> None:
    buyer = env.buyer()
    order = buyer.reserve(1)
    for _ in range(2):
        _declined(env, buyer.open_pay_page(order))
    env.deliver_events()
    env.run_jobs()
    env.move(minutes=7)
    env.run_jobs()


@scenario
def never_paid(env: CrashEnv) -> None:
    buyer = env.buyer()
    opened, _unopened = buyer.reserve(1), env.buyer().reserve(1)
    buyer.open_pay_page(opened)
    buyer.post(f"/orders/{opened.token}/extend", {"csrf_token": _token(buyer, opened)})
    env.clock.move(minutes=31)
    env.run_jobs()


@scenario
def canceled(env: CrashEnv) -> None:
    buyer = env.buyer()
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    buyer.cancel(order)


@scenario
def paid_while_the_hold_ends(env: CrashEnv) -> None:
    buyer = env.buyer()
    order = buyer.reserve(1)
    env.confirm(buyer.open_pay_page(order))
    env.clock.move(minutes=16)
    env.run_jobs()


@scenario
def paid_too_late(env: CrashEnv) -> None:
    """The places are taken again for one; for the other there are none, and the money goes back."""
    buyer = env.buyer()
    lucky, late = buyer.reserve(0, 1), env.buyer().reserve(8)
    intents = [buyer.open_pay_page(order) for order in (lucky, late)]
    env.clock.move(minutes=16)
    env.run_jobs()
    env.ready()
    others = [env.buyer().reserve(8) for _ in range(6)]
    for intent in intents:
        change_at_stripe(env, intent, status="requires_payment_method", canceled_at=None)
        env.confirm(intent)
    env.deliver_events()
    env.run_jobs()
    assert {env.order(order.token).status for order in others} <= {"held", "expired"}


@scenario
def debits(env: CrashEnv) -> None:
    """One arrives after days, one bounces after its hold has ended."""
    buyer = env.buyer()
    for fate in ("pays", "bounces"):
        order = env.buyer().reserve(1)
        _debit(env, buyer.open_pay_page(order), _IBANS[fate])
        buyer.get(f"/orders/{order.token}/return")
    env.move(minutes=20)
    env.run_jobs()
    env.move(days=6)
    env.deliver_events()
    env.run_jobs()


@scenario
def refunded_whole(env: CrashEnv) -> None:
    _refund(env, paid(env, 2))


@scenario
def refunded_by_ticket(env: CrashEnv) -> None:
    _refund(env, paid(env, 3), "--tickets", "2", "--amount", "20")
    env.deliver_events()


@scenario
def refunded_by_a_person(env: CrashEnv) -> None:
    """Stripe refunds no OXXO payments."""
    env.change_event(price=15000, currency="mxn")
    buyer = env.buyer()
    order = buyer.reserve(1)
    take_voucher(env, buyer.open_pay_page(order), "ana@example.com")
    env.drain()
    env.move(minutes=4)
    env.drain()
    env.ready()
    # Until a person says that it was done, the shop still has the money.
    env.excused = True
    _refund(env, env.order(order.token))
    env.run_jobs()
    is_open = OperatorAlert.resolved_at.is_(None)
    env.flask("alerts", "resolve", "1", unless=lambda: not count(env, is_open))
    env.excused = False


@scenario
def refunded_in_the_dashboard(env: CrashEnv) -> None:
    whole, partly = paid(env, 2), paid(env, 2)
    env.stripe.v1.refunds.create({"payment_intent": intent_of(env, whole)})
    env.stripe.v1.refunds.create({"payment_intent": intent_of(env, partly), "amount": 300})
    env.deliver_events()
    env.run_jobs()


@scenario
def refunded_by_both_at_once(env: CrashEnv) -> None:
    """What Stripe refuses is booked as it is, and what is still owed follows."""
    buyer = env.buyer()
    order = buyer.reserve(1)
    intent = buyer.open_pay_page(order)
    env.stripe.v1.payment_intents.update(intent, {"amount": 5000})
    env.confirm(intent)
    buyer.get(f"/orders/{order.token}/return")
    env.stripe.v1.refunds.create({"payment_intent": intent, "amount": 300})
    env.run_jobs()


@scenario
def disputed_and_won(env: CrashEnv) -> None:
    _disputed(env, "winning_evidence")


@scenario
def disputed_and_lost(env: CrashEnv) -> None:
    _disputed(env, "losing_evidence")


@scenario
def for_nothing(env: CrashEnv) -> None:
    env.change_event(price=0)
    buyer = env.buyer()
    order = buyer.reserve(2)
    buyer.get(f"/orders/{order.token}")
    env.run_jobs()
    _refund(env, order)


@scenario
def for_nothing_once_confirmed(env: CrashEnv) -> None:
    """Free tickets wait for the click on the link in a mail."""
    env.change_event(price=0, confirm_email=True)
    buyer = env.buyer()
    order = buyer.reserve(1)
    env.run_jobs()
    path = f"/orders/{order.token}/confirm/{link_key(env.shop, env.order(order.token))}"
    buyer.post(path, {"csrf_token": buyer.csrf_token("/orders/find")})


@scenario
def signed_in(env: CrashEnv) -> None:
    """A customer signs in and out, and changes name and address."""
    env.buyer().reserve(1)
    buyer = customers.signed_in_again(env, "ana@example.com")
    settings, email = "/account/settings", "/account/email"
    customers.submit(buyer, settings, settings, name="Ana Dos", language="es")
    customers.submit(buyer, settings, "/account/company")
    customers.submit(buyer, settings, email, email="eva@example.com")
    customers.submit(buyer, settings, f"{email}/give-up")
    customers.submit(buyer, settings, email, email="new@example.com")
    env.run_jobs()
    env.ready()
    for _to, link in customers.links_in_mails(env)[-2:]:
        customers.use(buyer, link)
    buyer = customers.signed_in_again(env, "new@example.com")
    customers.submit(buyer, settings, "/account/sign-out-everywhere")
    addresses = ("new@example.com", "newest@example.com")
    is_changed = partial(count, env, Customer.email == addresses[1])
    env.flask("customer", "change-email", "--yes", *addresses, unless=is_changed)


@scenario
def another_program(env: CrashEnv) -> None:
    data = {"amount": 12.5, "currency": "eur", "metadata": {}}
    answer = env.api("create_payment_intent", data, **{"Idempotency-Key": "once"}).json()
    intent = answer["data"]["payment_intent_id"]
    env.confirm(intent)
    for endpoint in ("confirm_payment", "get_payment_intent"):
        assert env.api(endpoint, {"payment_intent_id": intent}).status_code == 200
    env.clock.move(days=3)
    env.run_jobs()


@scenario
def stripe_breaks(env: CrashEnv) -> None:
    """An error of Stripe's own is kept under the key: the next try looks first, then makes anew."""
    buyer = env.buyer()
    order = buyer.reserve(1)
    Driver(env.sandbox).refuse("POST /v1/payment_intents", 500)
    assert buyer.get(f"/orders/{order.token}/pay").status_code in (200, 503)
    env.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")


@scenario
def stripe_is_away(env: CrashEnv) -> None:
    """What cannot be done now is done later: an event that must be read again, a refund."""
    order = paid(env, 2)
    env.excused = True
    trouble = Driver(env.sandbox)
    env.stripe.v1.refunds.create({"payment_intent": intent_of(env, order), "amount": 100})
    for call in ("GET /v1/refunds/*", "GET /v1/refunds", "POST /v1/refunds"):
        trouble.refuse(call, 500)
    env.deliver_events()
    _refund(env, order, "--amount", "1")
    for _ in range(3):
        env.run_jobs()
        env.clock.move(minutes=5)
    env.excused = False


@scenario
def stripe_refuses(env: CrashEnv) -> None:
    """What Stripe refuses for good is reported, and resolved when it accepts again."""
    answers, buyer = StripeAnswers(env), env.buyer()
    order = buyer.reserve(1)
    answers.refuse("POST /v1/payment_intents", 400, "No valid payment method types.")
    for _ in range(2):
        assert buyer.get(f"/orders/{order.token}/pay").status_code == 503
    answers.rules.clear()
    env.confirm(buyer.open_pay_page(order))
    buyer.get(f"/orders/{order.token}/return")
    env.run_jobs()
    env.excused = True
    answers.refuse("POST /v1/refunds", 404, "No such payment_intent", "resource_missing")
    _refund(env, order)
    answers.rules.clear()
    env.move(hours=1)
    env.run_jobs()
    env.excused = False


@scenario
def paid_and_lost(env: CrashEnv) -> None:
    """A payment whose order is in no backup: a person hears of it, and has it refunded."""
    paid(env, 1)
    with env.shop.db.reading() as session:
        shop_id = get_identity(session).shop_id
    metadata = {"platform": "TMT", "tmt_shop": shop_id}
    lost = env.stripe.v1.payment_intents.create(
        {"amount": 700, "currency": "usd", "metadata": metadata}
    )
    env.excused = True
    env.confirm(lost.id)
    env.run_jobs()
    env.look("audit", "--repair", "--refund-unknown")
    env.excused = False


def count(env: CrashEnv, *where: ColumnElement[bool]) -> int:
    """How many rows there are, of which all this is true."""
    with env.shop.db.reading() as session:
        return session.scalar(select(func.count()).where(*where)) or 0


def _declined(env: CrashEnv, intent: str) -> None:
    with contextlib.suppress(stripe.CardError):
        env.confirm(intent, "pm_card_chargeDeclined")


def paid(env: CrashEnv, *quantities: int, method: str = "pm_card_visa") -> Order:
    """A paid order, its jobs done."""
    order = bought(env, *quantities, method=method)
    env.run_jobs()
    return order


def bought(env: CrashEnv, *quantities: int, method: str = "pm_card_visa") -> Order:
    buyer = env.buyer()
    order = buyer.reserve(*quantities)
    env.confirm(buyer.open_pay_page(order), method)
    buyer.get(f"/orders/{order.token}/return")
    return env.order(order.token)


def _refund(env: CrashEnv, order: Order, *options: str) -> None:
    def decided() -> bool:
        with env.shop.db.reading() as session:
            reasons = {refund.reason for refund in get_refunds(session, order.id)}
        return "requested_by_customer" in reasons or env.order(order.token).status == "refunded"

    env.flask("refund", "--yes", order.code, *options, unless=decided)


def _disputed(env: CrashEnv, evidence: str) -> None:
    order = paid(env, 1, method="pm_card_createDispute")
    env.deliver_events()
    env.run_jobs()
    (dispute,) = env.stripe.v1.disputes.list({"payment_intent": intent_of(env, order)}).data
    env.stripe.v1.disputes.update(
        dispute.id, {"evidence": {"uncategorized_text": evidence}, "submit": True}
    )
    env.deliver_events()
    env.run_jobs()
    # What waited for the decision is looked at again.
    env.clock.move(hours=7)


def _debit(env: CrashEnv, intent: str, iban: str) -> None:
    accepted = {"ip_address": "192.0.2.1", "user_agent": "test"}
    env.stripe.v1.payment_intents.confirm(
        intent,
        {
            "payment_method_data": {
                "type": "sepa_debit",
                "sepa_debit": {"iban": iban},
                "billing_details": {"name": "Ana Ejemplo", "email": "ana@example.com"},
            },
            "mandate_data": {"customer_acceptance": {"type": "online", "online": accepted}},
            "return_url": f"{env.url}/elsewhere",
        },
    )


def intent_of(env: CrashEnv, order: Order) -> str:
    found = env.payment(order).payment_intent_id
    assert found
    return found


def _token(buyer: object, order: Order) -> str:
    return str(buyer.csrf_token(f"/orders/{order.token}/pay"))  # type: ignore[attr-defined]
