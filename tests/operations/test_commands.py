"""The operator's commands on the outbox."""

from __future__ import annotations

from click.testing import Result

from tests.actions import Shopfront
from tmt.core import outbox


def flask(front: Shopfront, *command: str) -> Result:
    return front.app.test_cli_runner().invoke(args=["outbox", *command])


def put(front: Shopfront, kind: str) -> None:
    now = front.clock.now()
    front.shop.db.transaction(lambda s: outbox.put(s, kind, f"key-{kind}", {}, now))


def test_an_empty_outbox_says_so(shopfront: Shopfront) -> None:
    assert flask(shopfront, "list").output == "nothing\n"


def test_what_fails_is_listed_with_its_reason_and_can_be_tried_again(shopfront: Shopfront) -> None:
    put(shopfront, "unheard_of")
    shopfront.run_jobs()
    listed = flask(shopfront, "list", "--open").output
    assert "failing" in listed
    assert "KeyError" in listed
    number = listed.split()[0]
    assert flask(shopfront, "retry", number).exit_code == 0
    assert "failing    1" in flask(shopfront, "list").output


def test_what_is_done_is_not_done_again(shopfront: Shopfront) -> None:
    buyer = shopfront.buyer()
    token = buyer.csrf_token("/orders/find")
    buyer.post("/orders/find", {"email": "ana@example.com", "csrf_token": token})
    shopfront.run_jobs()
    listed = flask(shopfront, "list").output
    assert "done" in listed
    assert flask(shopfront, "list", "--open").output == "nothing\n"
    refused = flask(shopfront, "retry", listed.split()[0])
    assert refused.exit_code == 1
    assert "no open row" in refused.output


def test_a_number_that_is_none_is_refused(shopfront: Shopfront) -> None:
    assert flask(shopfront, "retry", "4711").exit_code == 1
