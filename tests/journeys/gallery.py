"""Every page of the shop in every state that it can be in, and the way there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.billing.test_joining import joined, pay, plan_of
from tests.customers.flows import ask_for_link, links_in_mails
from tests.journeys.steps import DECLINED, VISA_CHALLENGED, Visitor, eventually
from tests.payments.flows import take_voucher
from tests.shopfront import add_event
from tmt.billing.joining import end_with_period, start
from tmt.catalog.changes import Appointment, record_change
from tmt.catalog.models import ChangeKind, Event, EventStatus
from tmt.checkout.models import Order, OrderStatus
from tmt.checkout.states import Trigger, lock_order, transition
from tmt.payments.models import Dispute, Refund
from tmt.payments.refunds import issue_refund

Way = Callable[[Visitor], None]
LONG = "La muy larga noche de los tamborileros iberoamericanos independientes"


def _now() -> datetime:
    return datetime.now(UTC)


def _at(path: str) -> Way:
    return lambda visitor: visitor.go(path)


def _event(**changed: Any) -> Way:
    def way(visitor: Visitor) -> None:
        visitor.open_event(add_event(visitor.front.shop.db, "otro", **changed))

    return way


def _list(visitor: Visitor) -> None:
    """A list with an event in every state."""
    db, soon = visitor.front.shop.db, _now() + timedelta(days=2)
    add_event(db, "largo", title=LONG)
    add_event(db, "pronto", sale_starts_at=soon)
    add_event(db, "nada", capacity=0)
    add_event(db, "pocas", capacities=(2, 3), capacity=5)
    add_event(db, "caido", status=EventStatus.CANCELED)
    add_event(db, "gratis", prices=(0,), capacities=(9,))
    visitor.go("/")


def _form_errors(visitor: Visitor) -> None:
    visitor.open_event()
    visitor.choose(1)
    visitor.introduce(email="ana@example")
    visitor.page.locator("#holders summary").wait_for(state="attached")
    visitor.reserve_button.click()
    visitor.page.get_by_role("alert").wait_for()


def _chosen(visitor: Visitor) -> None:
    visitor.open_event(add_event(visitor.front.shop.db, "otro", capacities=(3, None)))
    visitor.choose(3, 1)
    visitor.introduce()
    visitor.page.locator("#holders summary").click()


def _standing(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.open_event()


def _paying(visitor: Visitor) -> None:
    visitor.reserve(2, 1)
    expect(visitor.pay_button).to_be_enabled()


def _declined(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.pay(DECLINED)
    expect(visitor.alert).to_be_visible()


def _card_errors(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.pay("4242424242424241")
    expect(visitor.alert).to_be_visible()


def _challenged(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.pay(VISA_CHALLENGED)
    visitor.page.frame_locator("dialog iframe").frame_locator("iframe").locator(
        "button:focus"
    ).wait_for()


def _nearly_over(visitor: Visitor) -> None:
    order = visitor.front.buyer().reserve(1)
    visitor.front.clock.move(minutes=13, seconds=30)
    visitor.go(f"/orders/{order.token}/pay")
    expect(visitor.page.locator("#hold-warning")).not_to_be_empty()


def _more_time(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.page.locator(".hold-more button").click()
    visitor.page.get_by_text(visitor.says("Your reservation has been extended.")).wait_for()


def _silent(visitor: Visitor) -> None:
    order = visitor.front.buyer().reserve(1)
    visitor.front.servers[1].stop()
    visitor.go(f"/orders/{order.token}/pay")


def _held(visitor: Visitor) -> None:
    visitor.go(f"/orders/{visitor.front.buyer().reserve(1).token}")


def _paid_order(
    visitor: Visitor, event: Event | None = None, method: str = "pm_card_visa"
) -> Order:
    visitor.front.event = event or visitor.front.event
    buyer = visitor.front.buyer()
    order = buyer.reserve(2, 1)
    visitor.front.confirm(buyer.open_pay_page(order), method)
    buyer.get(f"/orders/{order.token}/return")
    return order


def _paid(visitor: Visitor) -> None:
    long = add_event(visitor.front.shop.db, "largo", title=LONG)
    visitor.go(f"/orders/{_paid_order(visitor, long).token}")


def _paid_and_canceled(visitor: Visitor) -> None:
    order = _paid_order(visitor)
    db, event_id = visitor.front.shop.db, visitor.front.event.id
    db.transaction(
        lambda session: setattr(session.get_one(Event, event_id), "status", EventStatus.CANCELED)
    )
    visitor.go(f"/orders/{order.token}")


def _changed_event(kind: ChangeKind, **changed: Any) -> Way:
    """A paid order whose event was moved or canceled afterwards, with all that follows."""

    def way(visitor: Visitor) -> None:
        order, shop = _paid_order(visitor), visitor.front.shop

        def unit(session: Session) -> None:
            event = session.get_one(Event, visitor.front.event.id)
            before = Appointment.of(event)
            for name, value in changed.items():
                setattr(event, name, value)
            record_change(session, event, kind, _now(), before=before, message=LONG)

        shop.db.transaction(unit)
        if kind == ChangeKind.CANCELED:
            shop.jobs.trigger("outbox")
            eventually(lambda: visitor.front.order(order.token).status == OrderStatus.REFUNDED)
        visitor.go(f"/orders/{order.token}")

    return way


def _given_back(**wanted: Any) -> Way:
    """A paid order of which the organiser gives something back."""

    def way(visitor: Visitor) -> None:
        order = _paid_order(visitor)
        issue_refund(visitor.front.shop, order.code, **wanted)
        eventually(lambda: _refund_states(visitor) == ["succeeded"])
        visitor.go(f"/orders/{order.token}")

    return way


def _refund_failed(visitor: Visitor) -> None:
    order = _paid_order(visitor, method="pm_card_refundFail")
    issue_refund(visitor.front.shop, order.code)
    eventually(lambda: _refund_states(visitor) == ["succeeded"])
    visitor.front.sandbox.advance(timedelta(days=4).total_seconds())
    eventually(lambda: _refund_states(visitor) == ["failed"])
    visitor.go(f"/orders/{order.token}")


def _refund_states(visitor: Visitor) -> list[str]:
    with visitor.front.shop.db.reading() as session:
        return list(session.scalars(select(Refund.status)))


def _disputed(evidence: str) -> Way:
    """A paid order whose payment a bank wants back."""

    def way(visitor: Visitor) -> None:
        order = _paid_order(visitor, method="pm_card_createDispute")
        eventually(lambda: _dispute_states(visitor) == ["needs_response"])
        if evidence:
            disputes = visitor.front.stripe.v1.disputes
            text: Any = {"evidence": {"uncategorized_text": evidence}}
            disputes.update(disputes.list().data[0].id, text)
            eventually(lambda: _dispute_states(visitor) == ["lost"])
        visitor.go(f"/orders/{order.token}")

    return way


def _dispute_states(visitor: Visitor) -> list[str]:
    with visitor.front.shop.db.reading() as session:
        return list(session.scalars(select(Dispute.status)))


def _bank_refused(visitor: Visitor) -> None:
    order = visitor.front.buyer().reserve(1)

    def unit(session: Session) -> None:
        for to in (OrderStatus.PROCESSING, OrderStatus.HELD, OrderStatus.EXPIRED):
            transition(session, lock_order(session, order.id), to, Trigger.WEBHOOK, _now())

    visitor.front.shop.db.transaction(unit)
    visitor.go(f"/orders/{order.token}")


def _slip(visitor: Visitor) -> None:
    visitor.front.event = add_event(visitor.front.shop.db, "pesos", currency="mxn")
    buyer = visitor.front.buyer()
    order = buyer.reserve(1)
    take_voucher(visitor.front, buyer.open_pay_page(order))
    visitor.go(f"/orders/{order.token}/return")


def _moved(to: str, trigger: Trigger) -> Way:
    """An order in a state that takes days or bad luck, set as the shop's own rules set it."""

    def way(visitor: Visitor) -> None:
        order = visitor.front.buyer().reserve(1)
        visitor.front.shop.db.transaction(
            lambda session: transition(session, lock_order(session, order.id), to, trigger, _now())
        )
        visitor.go(f"/orders/{order.token}")

    return way


def _given_up(visitor: Visitor) -> None:
    visitor.reserve(1)
    visitor.page.locator(".give-up button").click()
    visitor.page.locator(".order-canceled").wait_for()


def _find_error(visitor: Visitor) -> None:
    visitor.go("/orders/find")
    visitor.page.fill("#email", "ana@example")
    visitor.page.locator("main form button").click()
    visitor.page.get_by_role("alert").wait_for()


def _found(visitor: Visitor) -> None:
    visitor.go("/orders/find")
    visitor.page.fill("#email", "ana@example.com")
    visitor.page.locator("main form button").click()
    visitor.page.locator("main form").wait_for(state="detached")


def _signed_in(path: str) -> Way:
    """A page of a customer who has an order to pay, one with tickets, and one that is over."""

    def way(visitor: Visitor) -> None:
        _paid_order(visitor, add_event(visitor.front.shop.db, "largo", title=LONG))
        visitor.front.buyer().cancel(visitor.front.buyer().reserve(1))
        visitor.front.buyer().reserve(1)
        _sign_in(visitor)
        visitor.go(path)

    return way


def _open_mailed_link(visitor: Visitor, count: int) -> None:
    """Opens the last of so many links in mails."""
    eventually(lambda: len(links_in_mails(visitor.front)) >= count)
    visitor.go(links_in_mails(visitor.front)[-1][1])


def _sign_in(visitor: Visitor) -> None:
    ask_for_link(visitor.front.buyer())
    _open_mailed_link(visitor, 1)
    visitor.page.locator("main form button").click()
    visitor.page.locator(".account").wait_for()


def _opened_link(visitor: Visitor) -> None:
    visitor.front.buyer().reserve(1)
    ask_for_link(visitor.front.buyer())
    _open_mailed_link(visitor, 1)


def _changing_email(visitor: Visitor) -> None:
    _signed_in("/account/settings")(visitor)
    visitor.page.fill("#email", "eva@example.com")
    visitor.page.locator("form[action='/account/email'] button").click()
    visitor.page.locator("form[action$='give-up']").wait_for()


def _opened_change(visitor: Visitor) -> None:
    _changing_email(visitor)
    _open_mailed_link(visitor, 3)


def _confirmed_change(visitor: Visitor) -> None:
    _opened_change(visitor)
    visitor.page.locator("main form button").click()
    visitor.page.locator("main form").wait_for(state="detached")


def _settings_errors(visitor: Visitor) -> None:
    _signed_in("/account/settings")(visitor)
    visitor.page.fill("#name", "www.example.com")
    visitor.page.locator("form[action='/account/settings'] button").click()
    visitor.page.get_by_role("alert").wait_for()


def _company_errors(visitor: Visitor) -> None:
    _signed_in("/account/company")(visitor)
    visitor.page.fill("#company", "Ruido S.L.")
    visitor.page.locator("form[action='/account/company'] button").click()
    visitor.page.get_by_role("alert").wait_for()


def _plans(visitor: Visitor) -> None:
    names = {"es": "Amigos de la sala", "en": "Friends of the venue"}
    benefits = {"presale_days": 3, "member_percent_off": 20, "member_places": 2}
    plan_of(visitor.front, names=names, included_places=1, **benefits)
    donation = {"es": "Mecenas", "en": "Patrons"}
    plan_of(
        visitor.front,
        "mecenas",
        family="mecenas",
        names=donation,
        donation=True,
        price=12000,
        interval="year",
    )


def _plan_page(path: str) -> Way:
    def way(visitor: Visitor) -> None:
        _plans(visitor)
        visitor.go(path)

    return way


def _member(path: str, *, paid: bool = True, ends: bool = False) -> Way:
    """A page of somebody who has joined."""

    def way(visitor: Visitor) -> None:
        front = visitor.front
        _plans(visitor)
        membership = joined(front)
        if paid:
            pay(front, membership)
            start(front.shop, front.gateway, membership.id)
        if ends:
            end_with_period(front.shop, front.gateway, membership.id, ends=True)
        _sign_in(visitor)
        visitor.go(path.format(id=membership.id))

    return way


def _asked_to_sign_in(visitor: Visitor) -> None:
    visitor.go("/sign-in")
    visitor.page.fill("#email", "ana@example.com")
    visitor.page.locator("main form button").click()
    visitor.page.locator("main form").wait_for(state="detached")


def _console(kind: str) -> Way:
    def way(visitor: Visitor) -> None:
        order = _paid_order(visitor)
        intent = str(visitor.front.payment(order).payment_intent_id)
        stripe = visitor.front.stripe.v1
        stripe.refunds.create({"payment_intent": intent, "amount": 100})
        eventually(lambda: not any(event.pending_webhooks for event in stripe.events.list().data))
        newest = stripe.events.list().data[0].id
        paths = {"list": "/", "one": f"/payments/{intent}", "events": "/events"}
        visitor.page.goto(visitor.front.stripe_url + paths.get(kind, f"/events/{newest}"))

    return way


_STRANGE: dict[str, Any] = {"sale_ends_at": _now() - timedelta(days=1)}
_PAST: dict[str, Any] = {
    "starts_at": _now() - timedelta(days=2),
    "ends_at": _now() - timedelta(days=1),
}
PAGES: dict[str, Way] = {
    "list": _list,
    "list-found": _at("/?q=prueba"),
    "list-empty": _at("/?q=zzz"),
    "event": lambda visitor: visitor.open_event(),
    "event-long": _event(title=LONG, prices=(1234567, 0, 50), capacities=(4, None, 0)),
    "event-chosen": _chosen,
    "event-errors": _form_errors,
    "event-standing": _standing,
    "event-later": _event(sale_starts_at=_now() + timedelta(days=2)),
    "event-sold-out": _event(capacity=0),
    "event-closed": _event(**_STRANGE),
    "event-over": _event(**_PAST),
    "event-canceled": _event(status=EventStatus.CANCELED),
    "pay": _paying,
    "pay-declined": _declined,
    "pay-card-errors": _card_errors,
    "pay-challenge": _challenged,
    "pay-nearly-over": _nearly_over,
    "pay-more-time": _more_time,
    "pay-silent": _silent,
    "order-held": _held,
    "order-processing": _moved(OrderStatus.PROCESSING, Trigger.WEBHOOK),
    "order-slip": _slip,
    "order-paid": _paid,
    "order-event-canceled": _paid_and_canceled,
    "order-event-refunded": _changed_event(ChangeKind.CANCELED, status=EventStatus.CANCELED),
    "order-event-moved": _changed_event(ChangeKind.MOVED, venue="Teatro Nuevo", city=""),
    "order-expired": _moved(OrderStatus.EXPIRED, Trigger.EXPIRY),
    "order-canceled": _given_up,
    "order-declined": _moved(OrderStatus.CANCELED, Trigger.DECLINES),
    "order-refunded": _given_back(),
    "order-part-refunded": _given_back(tickets=[2]),
    "order-refund-failed": _refund_failed,
    "order-disputed": _disputed(""),
    "order-dispute-lost": _disputed("losing_evidence"),
    "order-bank-refused": _bank_refused,
    "find": _at("/orders/find"),
    "find-error": _find_error,
    "find-sent": _found,
    "sign-in": _at("/sign-in"),
    "sign-in-sent": _asked_to_sign_in,
    "sign-in-link": _opened_link,
    "sign-in-link-ended": _at("/sign-in/nothing"),
    "account": _signed_in("/account"),
    "account-settings": _signed_in("/account/settings"),
    "account-settings-errors": _settings_errors,
    "account-company": _signed_in("/account/company"),
    "account-company-errors": _company_errors,
    "account-email-changing": _changing_email,
    "account-email-link": _opened_change,
    "account-email-confirmed": _confirmed_change,
    "plans": _plan_page("/plans"),
    "plans-none": _at("/plans"),
    "plans-signed-in": _member("/plans"),
    "plan-join": _plan_page("/plans/amigos/join"),
    "member-pay": _member("/account/memberships/{id}/pay", paid=False),
    "member-unpaid": _member("/account/memberships", paid=False),
    "member": _member("/account/memberships"),
    "member-ends": _member("/account/memberships", ends=True),
    "nothing-here": _at("/nothing"),
    "console-payments": _console("list"),
    "console-payment": _console("one"),
    "console-events": _console("events"),
    "console-event": _console("event"),
}
