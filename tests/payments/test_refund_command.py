"""`flask refund` shows the order, asks, speaks in major units, and refuses what makes no sense."""

from __future__ import annotations

import pytest

from tests.payments.flows import (
    flask,
    order_page,
    paid,
    refunds,
    run_until_idle,
    ticket_statuses,
)

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("sound"),
]


def test_it_shows_the_order_and_does_nothing_without_a_yes(shopfront):
    order, _pi = paid(shopfront, 2)
    run = shopfront.app.test_cli_runner().invoke
    command = ["refund", f"{order.code[:4].lower()}-{order.code[4:]}", "--tickets", "2"]
    for answer in ("", "n\n"):
        refused = run(args=command, input=answer)
        assert refused.exit_code == 1
        assert "nothing was done; --yes does it without asking" in refused.output
    assert not refunds(shopfront)
    done = run(args=command, input="y\n")
    assert done.exit_code == 0, done.output
    for words in (
        f"Order {order.code} is paid: Concierto de prueba",
        "ticket 2: General, 75.00 USD, valid",
        "paid 150.00 USD, left 150.00 USD",
        "To be refunded: 75.00 USD; void from now on: 2; 75.00 USD stay paid.",
        "75.00 USD, succeeded, re_",
    ):
        assert words in done.output
    assert ticket_statuses(shopfront, order) == ["valid", "void"]
    everything = run(args=["refund", order.code], input="n\n")
    assert "refund: 75.00 USD, succeeded" in everything.output
    assert "75.00 USD; all its valid tickets (1) become void, and the order" in everything.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--amount", "150.01"], "has 150.00 USD left of what was paid for it"),
        (["--amount", "20 EUR"], "'20 EUR' is not in USD, the order's currency"),
        (["--amount", "12,50"], "'12,50' is not an amount such as 12.50"),
        (["--amount", "-1"], "is not an amount"),
        (["--amount", "0"], "an amount of 0 refunds nothing"),
        (["--amount", "1.005"], "more decimals than USD has"),
        (["--tickets", "3"], "has no ticket 3: it has 2"),
        (["--tickets", "1;2"], "'1;2' are not ticket numbers such as 1,3"),
        (["--tickets", ""], "'' are not ticket numbers such as 1,3"),
        (["--tickets", "١"], "'١' are not ticket numbers such as 1,3"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(shopfront, options, sentence):
    order, _pi = paid(shopfront, 2)
    refused = flask(shopfront, "refund", order.code, "--yes", *options)
    assert refused.exit_code == 1
    assert sentence in refused.output
    assert not refunds(shopfront)


def test_what_came_back_and_what_is_left_is_on_the_order_page(shopfront):
    order, _pi = paid(shopfront, 2)
    for options in (["--tickets", "2"], ["--amount", "USD 12.50"]):
        assert flask(shopfront, "refund", order.code, "--yes", *options).exit_code == 0
    run_until_idle(shopfront)
    page = order_page(shopfront, order)
    for words in (
        "$75.00</strong> · tickets: 2",
        "$12.50",
        "sent to your bank",
        "$87.50",
        "$62.50",
    ):
        assert words in page
    assert "is void already" in flask(shopfront, "refund", order.code, "--tickets", "2").output
