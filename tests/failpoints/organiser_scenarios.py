"""What the organiser does, by commands, and what is given up or lost: each scenario a function."""

from __future__ import annotations

import json

from tests.failpoints import member_scenarios  # noqa: F401 - adds its own
from tests.failpoints.corrupt import corrupt
from tests.failpoints.crash_env import CrashEnv
from tests.failpoints.scenarios import SCENARIOS, bought, count, intent_of, paid, scenario
from tests.sandbox_store import forget_at_stripe
from tests.shopfront import rendered_event
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.payments.models import OperatorAlert

# With those of this module, for whoever plays them all.
__all__ = ["SCENARIOS"]


@scenario
def by_hand(env: CrashEnv) -> None:
    """Commands: the catalogue, and what waits for a person."""
    env.seed()
    order = paid(env, 1)
    env.stripe.v1.refunds.create({"payment_intent": intent_of(env, order), "amount": 100})
    env.drain()
    env.ready()
    path = env.settings["instance"].parent / "catalogue.yaml"
    env.flask("catalog", "export", str(path))
    env.flask("catalog", "import", str(path))
    env.flask(
        "notices",
        "done",
        "1",
        unless=lambda: not count(env, OperatorAlert.resolved_at.is_(None)),
    )
    buyer = env.buyer()
    token = buyer.csrf_token("/orders/find")
    buyer.post("/orders/find", {"email": "ana@example.com", "csrf_token": token})
    event = env.stripe.v1.events.list({"type": "payment_intent.succeeded"}).data[0].id
    env.flask("inbox", "replay", event)


@scenario
def nobody_can_write_mail(env: CrashEnv) -> None:
    """A mail that could not be sent is tried again when somebody says so."""
    folder = env.shop.settings.mail_folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    paid(env, 1)
    folder.unlink()
    undone = (OutboxRow.kind == "confirmation", OutboxRow.done_at.is_(None))
    assert env.died or count(env, *undone)
    if count(env, *undone):
        env.flask("outbox", "retry", "1", unless=lambda: not count(env, *undone))


@scenario
def looked_after(env: CrashEnv) -> None:
    """The doctor looks at everything; Stripe is told where to send its events, twice."""
    env.look("doctor")
    for _ in range(2):
        env.flask("stripe", "register-webhook")
        env.flask("stripe", "register-domain", "--domain", "tickets.example.org")
        (domain,) = env.stripe.v1.payment_method_domains.list().data
        env.stripe.v1.payment_method_domains.update(domain.id, {"enabled": False})
    env.flask("stripe", "register-domain", "--domain", "tickets.example.org")
    env.learn_account()


@scenario
def repaired(env: CrashEnv) -> None:
    """What no code of the shop does: rows are lost and changed. The audit puts them right."""
    orders = [bought(env, 1) for _ in range(6)]
    env.run_jobs()
    env.stripe.v1.refunds.create({"payment_intent": intent_of(env, orders[0])})
    env.deliver_events()
    env.run_jobs()
    env.ready()
    env.excused = True
    corrupt(env, *orders)
    env.look("audit", "--repair")
    env.excused = False


@scenario
def event_canceled(env: CrashEnv) -> None:
    """An event is canceled: one order is paid and refunded, another only has a reservation."""
    paid(env, 1)
    buyer = env.buyer()
    buyer.open_pay_page(buyer.reserve(1))
    env.ready()
    env.flask("event", "cancel", env.event.slug, "--yes")
    env.run_jobs()
    env.deliver_events()
    env.run_jobs()


@scenario
def corrected(env: CrashEnv) -> None:
    """The buyer of a paid order corrects the e-mail address; the organiser renews the link."""
    order = paid(env, 1)
    buyer = env.buyer()
    data = {"csrf_token": buyer.csrf_token(f"/orders/{order.token}"), "email": "eva@example.org"}
    env.ready()
    buyer.post(f"/orders/{order.token}/email", data, allow_redirects=False)
    env.run_jobs()
    env.flask(
        "order", "renew-link", order.code, unless=lambda: env.order(order.code).token != order.token
    )


@scenario
def missing_at_stripe(env: CrashEnv) -> None:
    """Stripe does not know a PaymentIntent any more: an alert, and the hold ends an hour late."""
    buyer = env.buyer()
    intent = buyer.open_pay_page(buyer.reserve(1))
    forget_at_stripe(env, intent)
    env.excused = True
    env.run_jobs()
    env.move(hours=2)
    env.run_jobs()


@scenario
def given_up(env: CrashEnv) -> None:
    """The organiser gives up a mail that cannot be written and an event that cannot be read."""
    folder = env.shop.settings.mail_folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    body = rendered_event(env, "refund.updated", {})
    env.deliver(body)
    paid(env, 1)
    env.ready()
    open_mail = (OutboxRow.kind == "confirmation", OutboxRow.done_at.is_(None))
    open_event = (InboxRow.event_id == json.loads(body)["id"], InboxRow.done_at.is_(None))
    # The audit names both until then.
    env.excused = True
    env.flask("outbox", "discard", "1", unless=lambda: not count(env, *open_mail))
    event = json.loads(body)["id"]
    env.flask("inbox", "discard", event, unless=lambda: not count(env, *open_event))
    folder.unlink()
    env.excused = False
    # The mail about the event waits longer after each try.
    env.clock.move(hours=7)


@scenario
def erased(env: CrashEnv) -> None:
    """The event is over, and its buyer wants to be forgotten."""
    order = paid(env, 1)
    env.move(days=200)
    env.run_jobs()
    env.ready()
    erase = ("privacy", "erase", "ana@example.com", "--yes")
    mails = env.shop.settings.mail_folder
    env.flask(*erase, unless=lambda: not env.order(order.code).email and not any(mails.iterdir()))


@scenario
def other_keys(env: CrashEnv) -> None:
    """A reservation was taken with other keys; the organiser ends it."""
    order = env.buyer().reserve(1)
    env.change_orders(livemode=True)
    env.ready()
    env.flask(
        "order",
        "release",
        order.code,
        "--yes",
        unless=lambda: env.order(order.token).status == "canceled",
    )


@scenario
def in_small_batches(env: CrashEnv) -> None:
    """Stripe's events take long: those that were claimed and not begun are returned."""
    paid(env, 1)
    env.work_slowly()
    env.deliver_events()
    env.run_jobs()


@scenario
def a_process_for_jobs(env: CrashEnv) -> None:
    """A process begins and ends to run jobs."""
    env.begin_and_end_heartbeats()
