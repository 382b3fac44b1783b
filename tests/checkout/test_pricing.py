"""What an order costs: list prices, member prices and included places, in one pure function."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmt.checkout.models import PriceReason
from tmt.checkout.pricing import Benefits, Grant, price_lines

START = datetime(2026, 11, 1, tzinfo=UTC)
PRICES = {1: 7500, 2: 2500, 3: 0}


def included(places, membership=1):
    return Grant(membership, START, PriceReason.INCLUDED, places, percent_off=100)


def member(places, percent=0, amount=0, membership=1):
    return Grant(membership, START, PriceReason.MEMBER_PRICE, places, percent, amount)


CASES = [
    # quantities, grants, lines: type, tickets, price
    ({1: 2}, [], [(1, 2, 7500)]),
    ({1: 3}, [member(2, 20)], [(1, 2, 6000), (1, 1, 7500)]),
    ({1: 1, 2: 2}, [member(2, 20)], [(1, 1, 6000), (2, 1, 2000), (2, 1, 2500)]),
    # Where it saves most, whatever the order of types; and a free ticket uses nothing up.
    ({3: 1, 2: 1, 1: 1}, [included(1)], [(1, 1, 0), (2, 1, 2500), (3, 1, 0)]),
    ({1: 4}, [included(1), member(2, 20)], [(1, 1, 0), (1, 2, 6000), (1, 1, 7500)]),
    ({1: 2, 2: 2}, [included(3)], [(1, 2, 0), (2, 1, 0), (2, 1, 2500)]),
    ({2: 2}, [member(1, amount=3000)], [(2, 1, 0), (2, 1, 2500)]),
    # Two memberships: each for its own number of tickets, the better one first.
    (
        {1: 3},
        [member(1, 10), member(1, 50, membership=2)],
        [(1, 1, 3750), (1, 1, 6750), (1, 1, 7500)],
    ),
    ({1: 1}, [member(5, percent=0)], [(1, 1, 7500)]),
]


@pytest.mark.parametrize(("quantities", "grants", "expected"), CASES)
def test_lines(quantities, grants, expected):
    lines = price_lines(PRICES, quantities, grants, "eur")
    assert [(line.ticket_type_id, line.quantity, line.unit_price) for line in lines] == expected
    assert all((line.reason is None) == (line.unit_price == line.list_price) for line in lines)


@pytest.mark.parametrize(
    ("currency", "amount", "price"),
    [("eur", 2995, 1498), ("isk", 250500, 125300), ("kwd", 2990, 1500)],
)
def test_a_lower_price_is_one_that_can_be_charged(currency, amount, price):
    (line,) = price_lines({1: amount}, {1: 1}, [member(1, 50)], currency)
    assert line.unit_price == price


@given(
    st.dictionaries(st.sampled_from([1, 2, 3]), st.integers(0, 9)),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 100), st.integers(0, 3000)), max_size=4),
)
def test_every_ticket_has_one_price_and_no_grant_is_overdrawn(quantities, terms):
    grants = [member(n, percent, off, number) for number, (n, percent, off) in enumerate(terms)]
    lines = price_lines(PRICES, quantities, grants, "eur")
    for type_id in quantities:
        of_type = [line for line in lines if line.ticket_type_id == type_id]
        assert sum(line.quantity for line in of_type) == quantities[type_id]
    for grant in grants:
        assert sum(line.quantity for line in lines if line.grant == grant) <= grant.places
    assert all(
        0 <= line.unit_price <= line.list_price == PRICES[line.ticket_type_id] for line in lines
    )
    assert Benefits(tuple(grants)).key == Benefits(tuple(grants)).key
