"""An event is canceled or moved: what its buyers read, get and have back."""

from __future__ import annotations

from email import message_from_bytes, policy

import pypdfium2
import pytest
import yaml
from icalendar import Calendar
from sqlalchemy import select, update

from tests.invariants import check_money
from tests.payments.flows import (
    alert_kinds,
    english_buyer,
    flask,
    order_page,
    paid,
    refunds,
    run_until_idle,
)
from tests.payments.test_debits import debit
from tests.payments.test_disputes import decide
from tests.payments.test_disputes import disputed as disputed_order
from tests.shopfront import add_event
from tests.stripe_answers import StripeAnswers
from tmt.catalog import stock
from tmt.catalog.models import Event, EventChange, TicketType
from tmt.checkout.models import Order
from tmt.core.outbox import OutboxRow
from tmt.payments import event_changes

pytestmark = pytest.mark.usefixtures("sound")


def mails(shopfront, subject):
    """The mails with these words in their subject."""
    everything = (
        message_from_bytes(m.read_bytes(), policy=policy.default) for m in shopfront.mails()
    )
    return [mail for mail in everything if subject in mail["Subject"]]


def entry(content):
    calendar = Calendar.from_ical(content)
    (event,) = calendar.walk("VEVENT")
    return calendar["METHOD"], event


def cancel(shopfront, *options):
    done = flask(shopfront, "event", "cancel", shopfront.event.slug, "--yes", *options)
    assert done.exit_code == 0, done.output
    return done.output


def change(shopfront, tmp_path, *options, **fields):
    """Imports the exported catalogue with these fields of its first event changed."""
    path = tmp_path / "events.yaml"
    catalogue = yaml.safe_load(flask(shopfront, "catalog", "export").stdout)
    event = catalogue["events"][0] | fields
    times = {name: str(event[name])[:16] for name in ("starts_at", "ends_at")}
    path.write_text(yaml.safe_dump({"events": [event | times]}, sort_keys=False))
    return flask(shopfront, "catalog", "import", str(path), *options)


def test_every_order_of_a_canceled_event_is_refunded_and_informed_once(shopfront, monkeypatch):
    monkeypatch.setattr(event_changes, "_BATCH", 2)
    orders = [paid(shopfront, n)[0] for n in (1, 2)]
    issued, _pi = paid(shopfront, 2)
    assert flask(shopfront, "refund", issued.code, "--amount", "10.00 usd", "--yes").exit_code == 0
    held = english_buyer(shopfront).reserve(1)
    english_buyer(shopfront).open_pay_page(held)
    before = entry(english_buyer(shopfront).get(f"/orders/{issued.token}/calendar.ics").content)[1]

    shown = flask(shopfront, "event", "cancel", shopfront.event.slug).output
    for words in ("4 orders (1 held, 3 paid), 5 tickets", "365.00 USD are", "1 reservations end"):
        assert words in shown
    assert "nothing was done" in shown
    cancel(shopfront, "--message", "The singer <is> ill.")
    for _ in range(3):
        run_until_idle(shopfront)
    cancel(shopfront)
    run_until_idle(shopfront)

    assert shopfront.stock() == (0, 0)
    for order in (*orders, issued):
        assert shopfront.order(order.code).status == "refunded"
        page = order_page(shopfront, order)
        assert "This event has been canceled" in page
        assert "The singer &lt;is&gt; ill." in page
        assert "You’re in!" not in page
    assert shopfront.order(held.code).status == "canceled"
    assert sorted(r.amount for r in refunds(shopfront)) == [1000, 7500, 14000, 15000]
    sent = mails(shopfront, "Canceled: Concierto de prueba")
    assert len(sent) == 4
    assert len(mails(shopfront, "Your refund")) == 1
    texts = [mail.get_body(("plain",)).get_content() for mail in sent]
    assert sum("$140.00 to your original" in text for text in texts) == 1
    assert sum("you have not been charged" in text for text in texts) == 1
    check_money(shopfront)

    (file,) = [a for m in sent for a in m.iter_attachments() if issued.code in a.get_filename()]
    assert file.get_content_type() == "text/calendar"
    assert file["Content-Type"].params["method"] == "CANCEL"
    for content in (
        file.get_content().encode(),
        english_buyer(shopfront).get(f"/orders/{issued.token}/calendar.ics").content,
    ):
        method, after = entry(content)
        assert (method, after["STATUS"], after["UID"]) == ("CANCEL", "CANCELLED", before["UID"])
        assert after["SEQUENCE"] > before["SEQUENCE"]
    status = flask(shopfront, "event", "status", shopfront.event.slug).output
    assert "orders: 4 of 4 done, 0 waiting" in status
    assert "refunds: 3 succeeded, 365.00 USD" in status
    assert "mails: 4 sent" in status
    page = english_buyer(shopfront).get(f"/events/{shopfront.event.slug}").text
    assert "The singer &lt;is&gt; ill." in page


def test_a_cancellation_goes_on_where_a_dead_process_left_it(shopfront, sandbox):
    paid(shopfront, 1)
    sandbox.lose_answer("POST /v1/refunds", times=2)
    cancel(shopfront)
    # Each handler ran, and its process died before it could say so.
    for _ in range(3):
        run_until_idle(shopfront)
        shopfront.shop.db.transaction(
            lambda s: s.execute(
                update(OutboxRow)
                .where(OutboxRow.kind.startswith("event_"))
                .values(done_at=None, leased_until=None)
            )
        )
        shopfront.clock.move(minutes=5)
    run_until_idle(shopfront)
    assert [r.status for r in refunds(shopfront)] == ["succeeded"]
    assert len(mails(shopfront, "Canceled")) == 1
    with shopfront.shop.db.reading() as session:
        assert session.scalars(select(EventChange.orders)).all() == [1]
    check_money(shopfront)


def test_a_disputed_order_waits_for_its_dispute_and_a_debit_is_refunded_on_arrival(
    shopfront, sandbox
):
    open_debit, _pi = debit(shopfront)
    disputed, dispute = disputed_order(shopfront)
    cancel(shopfront)
    run_until_idle(shopfront)
    assert shopfront.order(disputed.code).status == "paid"
    assert "Once the dispute is resolved" in order_page(shopfront, disputed)
    assert "is on its way, we will refund it in full" in order_page(shopfront, open_debit)
    assert "1 waiting" in flask(shopfront, "event", "status", shopfront.event.slug).output

    decide(shopfront, dispute, "winning_evidence")
    sandbox.advance(days=6)
    for _ in range(2):
        run_until_idle(shopfront)
    assert shopfront.order(disputed.code).status == "refunded"
    assert shopfront.order(open_debit.code).status == "refunded"
    assert sorted(r.reason for r in refunds(shopfront)) == ["event_canceled", "no_event"]
    assert len(mails(shopfront, "Canceled")) == 2
    assert "no_event" in alert_kinds(shopfront)
    check_money(shopfront)


def test_whoever_stripe_says_nothing_of_is_informed_all_the_same(shopfront):
    buyer = english_buyer(shopfront)
    order = buyer.reserve(1)
    buyer.open_pay_page(order)
    answers = StripeAnswers(shopfront)
    answers.refuse("GET /v1/payment_intents/", 400, "Something is wrong")
    cancel(shopfront)
    run_until_idle(shopfront)
    assert len(mails(shopfront, "Canceled")) == 1
    assert shopfront.order(order.token).status == "held"
    answers.rules.clear()
    shopfront.clock.move(minutes=10)
    run_until_idle(shopfront)
    assert shopfront.order(order.token).status == "canceled"
    assert len(mails(shopfront, "Canceled")) == 1


def test_a_free_order_ends_and_nobody_reserves_once_it_is_canceled(shopfront):
    shopfront.shop.db.transaction(lambda s: s.execute(update(TicketType).values(price=0)))
    order = shopfront.buyer().reserve(2)
    cancel(shopfront)
    # Somebody read the event just before.
    quantities = {shopfront.event.ticket_types[0].id: 1}
    with pytest.raises(stock.SoldOut):
        shopfront.shop.db.transaction(lambda s: stock.hold(s, shopfront.event.id, quantities))
    run_until_idle(shopfront)
    assert shopfront.order(order.code).status == "refunded"
    assert not refunds(shopfront)
    pdf = english_buyer(shopfront).get(f"/orders/{order.token}/tickets.pdf").content
    text = pypdfium2.PdfDocument(pdf)[0].get_textpage().get_text_range()
    assert "EVENTO CANCELADO" in text
    assert shopfront.tickets(order)[0].code[:4].upper() not in text


def test_what_cannot_be_canceled_is_refused_in_a_sentence(shopfront):
    assert "no event 'nowhere'" in flask(shopfront, "event", "cancel", "nowhere", "--yes").output
    add_event(shopfront.shop.db, slug="draft", status="draft")
    refused = flask(shopfront, "event", "cancel", "draft", "--yes")
    assert refused.exit_code == 1
    assert "is draft, and nobody has ordered" in refused.output


def test_a_moved_event_is_shown_asked_for_and_told_to_each_buyer(shopfront, tmp_path):
    order, _pi = paid(shopfront, 1)
    before = entry(english_buyer(shopfront).get(f"/orders/{order.token}/calendar.ics").content)[1]
    new = {"venue": "Teatro Nuevo"}
    dry = change(shopfront, tmp_path, "--dry-run", **new)
    assert "dry run: nothing was imported" in dry.output
    assert "Teatro Nuevo" in dry.output
    assert "1 orders (1 paid), 1 tickets" in dry.output
    asked = change(shopfront, tmp_path, **new)
    assert (asked.exit_code, "nothing was done" in asked.output) == (1, True)
    assert change(shopfront, tmp_path, "--yes", **new).exit_code == 0
    # The same file again has nothing to say.
    assert "0 updated, 1 unchanged" in change(shopfront, tmp_path, **new).output
    run_until_idle(shopfront)

    (mail,) = mails(shopfront, "New date or place")
    text = mail.get_body(("plain",)).get_content()
    assert text.index("Teatro Nuevo") < text.index("Sala Uno")
    (file,) = mail.iter_attachments()
    method, after = entry(file.get_content().encode())
    assert (method, after["UID"]) == ("PUBLISH", before["UID"])
    assert after["SEQUENCE"] == before["SEQUENCE"] + 1
    assert "Teatro Nuevo" in after["LOCATION"]
    for page in (
        order_page(shopfront, order),
        english_buyer(shopfront).get(f"/events/{shopfront.event.slug}").text,
    ):
        assert "The date or the place of this event has changed." in page
        assert "Sala Uno" in page
    later, _pi = paid(shopfront, 1)
    assert "has changed" not in order_page(shopfront, later)

    assert change(shopfront, tmp_path, "--yes", "--no-mail", venue="Otra Sala").exit_code == 0
    run_until_idle(shopfront)
    assert len(mails(shopfront, "New date or place")) == 1
    assert "Teatro Nuevo" in order_page(shopfront, later)


def test_a_buyer_hears_of_the_last_move_alone(shopfront, tmp_path):
    paid(shopfront, 1)
    for venue in ("Teatro Nuevo", "Otra Sala"):
        assert change(shopfront, tmp_path, "--yes", venue=venue).exit_code == 0
    run_until_idle(shopfront)
    (mail,) = mails(shopfront, "New date or place")
    assert "Otra Sala" in mail.get_body(("plain",)).get_content()


def test_an_import_cancels_too_and_a_canceled_event_stays_so(shopfront, tmp_path):
    order, _pi = paid(shopfront, 1)
    done = change(shopfront, tmp_path, "--yes", status="canceled")
    assert "75.00 USD are refunded" in done.output
    run_until_idle(shopfront)
    assert shopfront.order(order.code).status == "refunded"
    again = change(shopfront, tmp_path, "--yes", status="published")
    assert "status: must stay canceled" in again.output


def test_an_event_that_is_over_says_so(shopfront):
    order, _pi = paid(shopfront, 1)
    held = english_buyer(shopfront).reserve(1)
    shopfront.clock.move(days=31)
    shopfront.shop.db.transaction(
        lambda s: s.execute(
            update(Order).where(Order.id == held.id).values(expires_at=shopfront.clock.now())
        )
    )
    page = order_page(shopfront, order)
    assert "This event has ended" in page
    assert "You’re in!" not in page
    page = order_page(shopfront, held)
    assert "This event has ended" in page
    assert "Pay now" not in page


def test_an_online_event_says_so_where_its_place_would_be(shopfront):
    values = {"online": True, "venue": "", "address": "", "city": ""}
    shopfront.shop.db.transaction(lambda s: s.execute(update(Event).values(values)))
    order, _pi = paid(shopfront, 1)
    assert "Online" in order_page(shopfront, order)
    assert english_buyer(shopfront).get("/").text.count("Online") == 1
    (mail,) = mails(shopfront, "Concierto de prueba")
    assert "Online" in mail.get_body(("plain",)).get_content()
