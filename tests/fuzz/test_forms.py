"""The checkout form and every page, given anything: the order that was meant, or none."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from tests.fuzz.raw_client import RawClient, state, unchanged
from tests.fuzz.strategies import HEADERS, TEXTS
from tests.invariants import check_stock
from tmt.catalog.models import Event, TicketType
from tmt.core.ids import new_token

pytestmark = pytest.mark.databases("postgresql")

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_COUNTS = st.integers(-3, 12).map(str) | st.sampled_from(
    ["", "1.5", "1e3", "٣", "²", " 2 ", "+1", "0x1", "1" * 400, "-0", "NaN", "1\x00", "00002"]
)
_NAMES = st.sampled_from(["Ana", "Мария", "名", "O'Brien <b>", "a\u0300" * 130]) | TEXTS
_EMAILS = st.sampled_from(["ana@example.com", "ANA@EXAMPLE.COM", "ana@exämple.com", "a@b"]) | TEXTS


@pytest.fixture
def client(shopfront):
    return RawClient(shopfront)


@pytest.fixture
def plenty(shopfront):
    """More places than are sold here."""
    for table in (Event, TicketType):
        shopfront.shop.db.transaction(
            lambda s, table=table: s.execute(update(table).values(capacity=5000))
        )
    return shopfront.event.ticket_types


@pytest.fixture
def browser(shopfront):
    """A browser's cookies and the token against forged forms that goes with them."""
    buyer = shopfront.buyer()
    token = buyer.form()["csrf_token"]
    cookies = "; ".join(f"{c.name}={c.value}" for c in buyer.session.cookies)
    return {"csrf_token": token}, {"Cookie": cookies} | _FORM


def pairs(types):
    """The form's fields as pairs: right, odd, missing, twice, in any order."""
    singles = [
        *(st.tuples(st.just(f"quantity-{t.id}"), _COUNTS) for t in types),
        *(st.tuples(st.just(f"shown_price-{t.id}"), _COUNTS) for t in types),
        *(st.tuples(st.just(f"holder-{t.id}"), _NAMES) for t in types),
        st.tuples(st.just("name"), _NAMES),
        st.tuples(st.just("email"), _EMAILS),
        st.tuples(st.just("checkout_token"), TEXTS),
        st.tuples(TEXTS, TEXTS),
        st.tuples(st.sampled_from(["quantity-0", "quantity-99999", "quantity-x"]), _COUNTS),
    ]
    return st.lists(st.one_of(singles), max_size=6)


def usual(types):
    """The fields of a form that is right, of which some may be left out."""
    counts = st.sampled_from(["0", "1", "2", "4", "9"])
    fields = {f"quantity-{t.id}": counts for t in types}
    fields |= {f"shown_price-{t.id}": st.just(str(t.price)) for t in types}
    fields |= {"name": st.just("Ana"), "email": st.just("ana@example.com")}
    some = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=1)
    whole = st.fixed_dictionaries(fields)
    return st.tuples(whole, some).map(lambda t: [(k, v) for k, v in t[0].items() if k not in t[1]])


def meant(posted, types):
    """How many of which ticket type the form asks for, as whoever reads it would say: what stands
    there first counts."""
    first = {}
    for name, value in posted:
        first.setdefault(name, value.strip())
    counts = {t.id: first.get(f"quantity-{t.id}", "") for t in types}
    return {type_id: int(count) for type_id, count in counts.items() if count.strip("0")}


def test_a_form_is_the_order_that_it_asks_for_or_none(shopfront, client, plenty, browser):
    csrf, headers = browser
    path = f"/events/{shopfront.event.slug}/orders"

    @given(usual(plenty), pairs(plenty), st.booleans())
    def post(right, odd, odd_first):
        fields = [*odd, *right] if odd_first else [*right, *odd]
        posted = [*fields, ("checkout_token", new_token()), *csrf.items()]
        before = state(shopfront)
        answer = client.send("POST", path, urlencode(posted, errors="replace").encode(), headers)
        if answer.status != 303:
            assert answer.status in (400, 413, 422)
            assert state(shopfront) == before
            return
        order = shopfront.order(answer.location.split("/orders/")[1].split("/")[0])
        prices = {t.id: t.price for t in plenty}
        wanted = meant(fields, plenty)
        assert order.quantities == wanted
        assert order.total == sum(prices[t] * count for t, count in wanted.items())
        assert 1 <= sum(wanted.values()) <= shopfront.event.max_per_order
        assert order.name.strip()
        assert order.email.count("@") == 1
        after = state(shopfront)
        assert after["orders"] == before["orders"] + 1
        assert after["payments"] == before["payments"] + 1
        assert after["stock"] == (before["stock"][0] + sum(wanted.values()), 0)
        assert after["intents"] == before["intents"]

    post()
    assert min(client.statuses[303], client.statuses[422]) > 10
    check_stock(shopfront.shop.db)


def test_without_the_browsers_token_nothing_is_taken(shopfront, client, plenty, browser):
    _csrf, headers = browser
    tokens = st.lists(st.tuples(st.just("csrf_token"), TEXTS), max_size=2)
    path = f"/events/{shopfront.event.slug}/orders"

    @given(usual(plenty), tokens)
    def post(right, tokens):
        posted = [*right, ("checkout_token", new_token()), *tokens]
        with unchanged(shopfront):
            body = urlencode(posted, errors="replace").encode()
            assert client.send("POST", path, body, headers).status == 400

    post()


def test_a_body_of_any_kind_is_no_order(shopfront, client, browser):
    # The token may be sent beside the form, which lets any form get further.
    headers = browser[1] | {"X-CSRFToken": browser[0]["csrf_token"]}
    kinds = st.sampled_from(
        ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/x"]
    )
    parts = st.binary(max_size=200) | st.binary(max_size=90).map(
        lambda b: b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b + b"\r\n--x--"
    )

    @given(kinds, parts)
    def post(kind, body):
        with unchanged(shopfront):
            path = f"/events/{shopfront.event.slug}/orders"
            answer = client.send("POST", path, body, headers | {"Content-Type": kind})
        assert 400 <= answer.status < 500

    post()
    assert client.statuses[422] > 10


def test_looking_anywhere_moves_nothing(shopfront, client):
    order = shopfront.buyer().reserve(1)
    pieces = st.sampled_from(
        f"events {shopfront.event.slug} orders {order.token} find status tickets.pdf calendar"
        " poster static healthz readyz stripe.js sandbox .. . es en".split()
    )
    paths = st.lists(pieces, max_size=3) | st.lists(pieces | TEXTS, max_size=4)
    queries = st.dictionaries(TEXTS | st.sampled_from(["q", "city", "date", "lang", "next"]), TEXTS)
    names = st.sampled_from(["Accept-Language", "Accept", "Cookie", "Referer", "If-None-Match"])

    @given(paths, queries, st.dictionaries(names, HEADERS))
    def look(path, query, headers):
        address = "/" + quote("/".join(path), errors="replace")
        address += f"?{urlencode(query, errors='replace')}" if query else ""
        with unchanged(shopfront):
            client.send("GET", address, headers=headers)

    look()
    assert min(client.statuses[200], client.statuses[404]) > 5
