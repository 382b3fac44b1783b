"""`flask outbox`: rows are listed with their last error, and can be tried again."""

from __future__ import annotations

import pytest
from click.testing import Result

from tests.shopfront import Shopfront
from tmt.core import outbox

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def flask(front: Shopfront, *command: str) -> Result:
    return front.app.test_cli_runner().invoke(args=["outbox", *command])


def put(front: Shopfront, kind: str) -> None:
    now = front.clock.now()
    front.shop.db.transaction(lambda s: outbox.put(s, kind, f"key-{kind}", {}, now))


def test_an_empty_outbox_says_so(shopfront: Shopfront) -> None:
    assert flask(shopfront, "list").output == "no rows\n"


def test_a_failing_row_is_listed_with_its_error_and_can_be_tried_again(
    shopfront: Shopfront,
) -> None:
    put(shopfront, "no_such_kind")
    shopfront.run_jobs()
    listed = flask(shopfront, "list", "--open").output
    assert "failing" in listed
    assert "KeyError" in listed
    row_id = listed.split()[0]
    assert flask(shopfront, "retry", row_id).exit_code == 0
    assert "failing    1" in flask(shopfront, "list").output


def test_a_row_that_is_done_is_not_tried_again(shopfront: Shopfront) -> None:
    buyer = shopfront.buyer()
    token = buyer.csrf_token("/orders/find")
    buyer.post("/orders/find", {"email": "ana@example.com", "csrf_token": token})
    shopfront.run_jobs()
    listed = flask(shopfront, "list").output
    assert "done" in listed
    assert flask(shopfront, "list", "--open").output == "no rows\n"
    result = flask(shopfront, "retry", listed.split()[0])
    assert result.exit_code == 1
    assert "no open row" in result.output


def test_an_unknown_row_is_an_error(shopfront: Shopfront) -> None:
    assert flask(shopfront, "retry", "4711").exit_code == 1
