"""Lists: filters, cursors and pages, as a program needs them that asks what it has missed."""

from __future__ import annotations

from typing import Any

from .conftest import DAY, NEW, Pay, Receiver, error_of, until
from .driver import Driver


def ids(objects: Any) -> list[str]:
    return [body.id for body in objects]


def test_pages_forward_and_back(v1: Any) -> None:
    intents = v1.payment_intents
    newest_first = [intents.create(NEW).id for _ in range(5)][::-1]
    assert ids(intents.list({"limit": 2}).auto_paging_iter()) == newest_first
    assert not intents.list({"limit": 5}).has_more
    back = intents.list({"limit": 2, "ending_before": newest_first[4]})
    assert (ids(back.data), back.has_more) == (newest_first[2:4], True)
    assert ids(back.auto_paging_iter()) == newest_first[:4][::-1]
    after = intents.list({"starting_after": newest_first[1], "limit": 1})
    assert (ids(after.data), after.has_more) == ([newest_first[2]], True)
    before = intents.list({"ending_before": newest_first[1]})
    assert (ids(before.data), before.has_more) == ([newest_first[0]], False)
    both = {"ending_before": newest_first[4], "starting_after": newest_first[0]}
    assert error_of(intents.list, both).http_status == 400
    for limit in (0, 101):
        assert error_of(intents.list, {"limit": limit}).param == "limit"
    error = error_of(intents.list, {"starting_after": "pi_none"})
    assert (error.code, error.param) == ("resource_missing", "starting_after")
    assert error.http_status == 400


def test_webhook_endpoints_page_by_page(v1: Any) -> None:
    for number in range(4):
        url = f"http://127.0.0.1:9/{number}"
        v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
    endpoints = v1.webhook_endpoints.list({"limit": 2}).auto_paging_iter()
    names = [endpoint.url.rpartition("/")[2] for endpoint in endpoints]
    assert names == ["3", "2", "1", "0", "hook"]


def test_expanding(v1: Any, pay: Pay) -> None:
    pay()
    path = {"expand": ["data.latest_charge.balance_transaction", "data.payment_method"]}
    (intent,) = v1.payment_intents.list(path).data
    assert intent.latest_charge.balance_transaction.object == "balance_transaction"
    assert intent.payment_method.card.last4 == "4242"
    charge = v1.charges.list({"expand": ["data.payment_intent", "data.refunds"]}).data[0]
    assert (charge.payment_intent.id, charge.refunds.data) == (intent.id, [])
    for path in ("data.nothing", "data", "nothing"):
        error = error_of(v1.charges.list, {"expand": [path]})
        assert "cannot be expanded" in str(error)


def test_events_of_some_types_since_a_time_page_by_page(v1: Any, driver: Driver, pay: Pay) -> None:
    paid = []
    for _ in range(4):
        paid.append(pay().id)
        driver.advance(days=9)
    second = v1.payment_intents.retrieve(paid[1]).created
    types = ["payment_intent.succeeded", "payment_intent.canceled"]
    query = {"types": types, "created": {"gte": second}, "limit": 2}
    page = v1.events.list(query)
    assert [event.data.object["id"] for event in page.data] == [paid[3], paid[2]]
    assert page.has_more
    events = [event.data.object["id"] for event in page.auto_paging_iter()]
    assert events == [paid[3], paid[2], paid[1]]
    assert len(v1.events.list({**query, "created": {"gt": second}}).data) == 2
    # The first is 36 days old: deleted.
    since_long = {"types": types, "created": {"gte": second - 20 * DAY}}
    assert len([*v1.events.list(since_long).auto_paging_iter()]) == 3
    assert v1.events.list({"ending_before": page.data[0].id, **query}).data == []


def test_events_by_type_and_by_whether_they_were_delivered(
    v1: Any, driver: Driver, receiver: Receiver
) -> None:
    driver.drop_webhooks("customer.updated")
    customer = v1.customers.create().id
    v1.customers.update(customer, {"name": "Ana"})
    driver.deliver()

    def types(**query: Any) -> list[str]:
        return [event.type for event in v1.events.list(query).data]

    both = ["customer.created", "customer.updated"]
    until(lambda: types(types=both, delivery_success=True) == ["customer.created"])
    assert types(types=both, delivery_success=False) == ["customer.updated"]
    assert receiver.types() == ["customer.created"]
    assert types(type="customer.*") == both[::-1]
    assert types(type="payment_intent.*") == []


def test_payment_intents_since_a_time(v1: Any, driver: Driver) -> None:
    intents = []
    for _ in range(3):
        intents.append(v1.payment_intents.create(NEW))
        driver.advance(hours=1)
    first, second, third = intents
    page = v1.payment_intents.list({"created": {"gte": second.created}, "limit": 1})
    assert (ids(page.data), page.has_more) == ([third.id], True)
    assert ids(page.auto_paging_iter()) == [third.id, second.id]
    between = {"created": {"gt": first.created, "lte": second.created}}
    assert ids(v1.payment_intents.list(between).data) == [second.id]


def test_refunds_of_a_payment_a_charge_and_a_time(v1: Any, pay: Pay, driver: Driver) -> None:
    first, second, refunds = pay(), pay(), v1.refunds
    old = refunds.create({"payment_intent": first.id, "amount": 500})
    driver.advance(days=1)
    recent = refunds.create({"payment_intent": first.id, "amount": 600})
    other = refunds.create({"payment_intent": second.id, "amount": 700})
    for query, expected in (
        ({"payment_intent": first.id}, [recent, old]),
        ({"charge": second.latest_charge}, [other]),
        ({"created": {"gte": recent.created}}, [other, recent]),
        ({"created": {"lt": recent.created}}, [old]),
        ({"payment_intent": first.id, "created": {"gt": old.created}}, [recent]),
    ):
        assert ids(refunds.list(query).data) == ids(expected), query


def test_disputes_of_a_payment_a_charge_and_a_time(v1: Any, pay: Pay, driver: Driver) -> None:
    first = pay("pm_card_createDispute")
    driver.advance(days=1)
    second, disputes = pay("pm_card_createDispute"), v1.disputes
    driver.advance(seconds=1)
    newest, oldest = disputes.list().data
    for query, expected in (
        ({"payment_intent": first.id}, oldest),
        ({"charge": second.latest_charge}, newest),
        ({"created": {"gte": newest.created}}, newest),
        ({"created": oldest.created}, oldest),
    ):
        assert ids(disputes.list(query).data) == [expected.id], query
