"""`/healthz`, `/readyz` and `/metrics`: what stops the sale is 503, what needs a person is not."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.gateway.stripe_events import run_sql
from tests.shopfront import Shopfront
from tmt.core import outbox
from tmt.core.job_runs import JobWorker
from tmt.operations import health

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def readyz(front: Shopfront) -> tuple[int, str, dict[str, str]]:
    answer = requests.get(f"{front.url}/readyz", timeout=20)
    return answer.status_code, answer.json()["status"], answer.json()["checks"]


def test_a_new_shop_is_ready(shopfront: Shopfront) -> None:
    assert requests.get(f"{shopfront.url}/healthz", timeout=20).json() == {"status": "ok"}
    ok = dict.fromkeys(("disk", "database", "inbox", "outbox"), "ok")
    assert readyz(shopfront) == (200, "ok", ok)


def test_jobs_that_stopped_degrade_it(shopfront: Shopfront) -> None:
    shopfront.run_jobs()
    shopfront.clock.move(minutes=11)
    code, status, checks = readyz(shopfront)
    assert (code, status) == (200, "degraded")
    assert "no sign of life" in checks["jobs"]


def test_a_process_that_fell_silent_is_named_while_another_runs(shopfront: Shopfront) -> None:
    before = shopfront.clock.now()
    worker = JobWorker(name="elsewhere:7", seen_at=before)
    shopfront.shop.db.transaction(lambda session: session.add(worker))
    shopfront.clock.move(minutes=11)
    shopfront.run_jobs()
    code, status, checks = readyz(shopfront)
    assert (code, status) == (200, "degraded")
    assert checks["jobs"] == "no sign of life of 1 processes: see flask doctor"
    report = shopfront.app.test_cli_runner().invoke(args=["doctor"]).output
    assert f"no sign of life of elsewhere:7 since {before:%Y-%m-%d %H:%M} UTC" in report
    shopfront.clock.move(hours=25)
    shopfront.run_jobs()
    assert "jobs" not in readyz(shopfront)[2]


def test_a_row_that_waits_for_long_stops_the_sale(shopfront: Shopfront) -> None:
    now = shopfront.clock.now()
    shopfront.shop.db.transaction(lambda s: outbox.put(s, "no_such_kind", "key", {}, now))
    shopfront.clock.move(minutes=11)
    code, status, checks = readyz(shopfront)
    assert (code, status) == (503, "failing")
    assert "the oldest row has waited" in checks["outbox"]
    shopfront.run_jobs()
    code, status, checks = readyz(shopfront)
    assert (code, status) == (200, "degraded")
    assert checks["outbox"] == "1 rows fail and are tried again"


def test_another_schema_stops_the_sale(shopfront: Shopfront) -> None:
    run_sql(shopfront, "UPDATE alembic_version SET version_num = '0001'")
    code, status, checks = readyz(shopfront)
    assert (code, status) == (503, "failing")
    assert checks["database"] == "is at revision 0001: run flask db upgrade"


def test_a_full_disk_stops_the_sale(shopfront: Shopfront, monkeypatch: Any) -> None:
    monkeypatch.setattr(health, "_MIN_FREE_DISK", 10**18)
    code, status, checks = readyz(shopfront)
    assert (code, status) == (503, "failing")
    assert checks["disk"].endswith("MiB are free")


def test_metrics_count_open_rows_and_the_payments_of_the_last_hour(shopfront: Shopfront) -> None:
    now = shopfront.clock.now()
    shopfront.shop.db.transaction(lambda s: outbox.put(s, "no_such_kind", "key", {}, now))
    lines = requests.get(f"{shopfront.url}/metrics", timeout=20).text.splitlines()
    assert 'tmt_queued_rows{queue="outbox"} 1' in lines
    assert 'tmt_queued_rows{queue="inbox"} 0' in lines
    assert 'tmt_last_hour_payments{outcome="succeeded"} 0' in lines


class TestWithToken:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"metrics_token": "a-token-for-tests"}

    @pytest.mark.parametrize(
        ("authorization", "status"),
        [("", 404), ("Bearer another", 404), ("Bearer a-token-for-tests", 200)],
    )
    def test_metrics_need_the_token(
        self, shopfront: Shopfront, authorization: str, status: int
    ) -> None:
        headers = {"Authorization": authorization} if authorization else {}
        answer = requests.get(f"{shopfront.url}/metrics", headers=headers, timeout=20)
        assert answer.status_code == status


def test_metrics_without_a_token_are_for_this_machine_only(shopfront: Shopfront) -> None:
    client = shopfront.app.test_client()
    for address, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 404)):
        answer = client.get("/metrics", environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == status, address
