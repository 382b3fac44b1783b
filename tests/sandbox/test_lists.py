"""Lists: filters, cursors and pages, as a program needs them that asks what it has missed."""

from __future__ import annotations

from typing import Any

import stripe

from tmt.sandbox import Sandbox

from .conftest import Pay, Receiver, refused, until
from .driver import Driver

DAY = 86400
NEW: Any = {"amount": 2000, "currency": "usd"}


def ids(objects: Any) -> list[str]:
    return [found.id for found in objects]


def test_events_of_some_types_since_a_time_page_by_page(
    client: stripe.StripeClient, driver: Driver, pay: Pay
) -> None:
    paid = []
    for _ in range(4):
        paid.append(pay().id)
        driver.advance(days=9)
    second = client.v1.payment_intents.retrieve(paid[1]).created
    kinds = ["payment_intent.succeeded", "payment_intent.canceled"]
    wanted: Any = {"types": kinds, "created": {"gte": second}, "limit": 2}
    page = client.v1.events.list(wanted)
    assert [event.data.object["id"] for event in page.data] == [paid[3], paid[2]]
    assert page.has_more
    told = [event.data.object["id"] for event in page.auto_paging_iter()]
    assert told == [paid[3], paid[2], paid[1]]
    later: Any = {**wanted, "created": {"gt": second}}
    assert len(client.v1.events.list(later).data) == 2
    # The first was told 36 days ago: forgotten.
    everything: Any = {"types": kinds, "created": {"gte": second - 20 * DAY}}
    assert len([*client.v1.events.list(everything).auto_paging_iter()]) == 3
    oldest: Any = {"ending_before": page.data[0].id, **wanted}
    assert client.v1.events.list(oldest).data == []


def test_events_that_arrived_and_those_that_did_not(
    client: stripe.StripeClient, box: Sandbox, driver: Driver, receiver: Receiver
) -> None:
    driver.drop_webhooks("customer.updated")
    customer = client.v1.customers.create().id
    client.v1.customers.update(customer, {"name": "Ana"})
    driver.deliver()
    types: Any = {"types": ["customer.created", "customer.updated"]}

    def told(arrived: bool) -> list[str]:
        found = client.v1.events.list({**types, "delivery_success": arrived}).data
        return [event.type for event in found]

    until(lambda: told(arrived=True) == ["customer.created"])
    assert told(arrived=False) == ["customer.updated"]
    assert receiver.types() == ["customer.created"]


def test_refunds_of_a_payment_a_charge_and_a_time(
    client: stripe.StripeClient, pay: Pay, driver: Driver
) -> None:
    first, second, refunds = pay(), pay(), client.v1.refunds
    old = refunds.create({"payment_intent": first.id, "amount": 500})
    driver.advance(days=1)
    fresh = refunds.create({"payment_intent": first.id, "amount": 600})
    other = refunds.create({"payment_intent": second.id, "amount": 700})
    assert ids(refunds.list({"payment_intent": first.id}).data) == [fresh.id, old.id]
    assert ids(refunds.list({"charge": str(second.latest_charge)}).data) == [other.id]
    assert ids(refunds.list({"created": {"gte": fresh.created}}).data) == [other.id, fresh.id]
    assert ids(refunds.list({"created": {"lt": fresh.created}}).data) == [old.id]
    both: Any = {"payment_intent": first.id, "created": {"gt": old.created}}
    assert ids(refunds.list(both).data) == [fresh.id]


def test_disputes_of_a_payment_a_charge_and_a_time(
    client: stripe.StripeClient, pay: Pay, driver: Driver
) -> None:
    first = pay("pm_card_createDispute")
    driver.advance(days=1)
    second, disputes = pay("pm_card_createDispute"), client.v1.disputes
    driver.advance(seconds=1)
    newest, oldest = disputes.list().data
    assert ids(disputes.list({"payment_intent": first.id}).data) == [oldest.id]
    assert ids(disputes.list({"charge": str(second.latest_charge)}).data) == [newest.id]
    assert ids(disputes.list({"created": {"gte": newest.created}}).data) == [newest.id]
    assert ids(disputes.list({"created": oldest.created}).data) == [oldest.id]


def test_payment_intents_since_a_time(client: stripe.StripeClient, driver: Driver) -> None:
    made = []
    for _ in range(3):
        made.append(client.v1.payment_intents.create(NEW))
        driver.advance(hours=1)
    since: Any = {"created": {"gte": made[1].created}, "limit": 1}
    found = client.v1.payment_intents.list(since)
    assert (ids(found.data), found.has_more) == ([made[2].id], True)
    assert ids(found.auto_paging_iter()) == [made[2].id, made[1].id]
    between: Any = {"created": {"gt": made[0].created, "lte": made[1].created}}
    assert ids(client.v1.payment_intents.list(between).data) == [made[1].id]


def test_webhook_endpoints_page_by_page(client: stripe.StripeClient) -> None:
    endpoints = client.v1.webhook_endpoints
    for number in range(4):
        given: Any = {"url": f"http://127.0.0.1:9/{number}", "enabled_events": ["*"]}
        endpoints.create(given)
    urls = [each.url.rpartition("/")[2] for each in endpoints.list({"limit": 2}).auto_paging_iter()]
    assert urls == ["3", "2", "1", "0", "hook"]
    second = endpoints.list().data[1]
    newer = endpoints.list({"ending_before": second.id})
    assert ([each.url[-1] for each in newer.data], newer.has_more) == (["3"], False)
    older = endpoints.list({"starting_after": second.id, "limit": 1})
    assert ([each.url[-1] for each in older.data], older.has_more) == (["1"], True)
    error = refused(lambda: endpoints.list({"starting_after": "we_none"}))
    assert (error.http_status, error.code) == (404, "resource_missing")


def test_lists_start_at_the_right_end_of_the_page(client: stripe.StripeClient) -> None:
    made = [client.v1.payment_intents.create(NEW).id for _ in range(5)]
    page = client.v1.payment_intents.list({"ending_before": made[0], "limit": 2})
    assert (ids(page.data), page.has_more) == ([made[2], made[1]], True)
    assert ids(page.auto_paging_iter()) == made[1:]
    both: Any = {"ending_before": made[0], "starting_after": made[4]}
    assert refused(lambda: client.v1.payment_intents.list(both)).http_status == 400
    for limit in (0, 101):
        assert (
            refused(lambda n=limit: client.v1.payment_intents.list({"limit": n})).param == "limit"
        )  # type: ignore[attr-defined]
