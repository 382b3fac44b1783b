"""Health and metrics: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import hmac
import shutil
from datetime import datetime, timedelta

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from tmt import web
from tmt.core import cursors, metrics, queued_rows, schema
from tmt.core.errors import NotFound
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.payments import card_testing
from tmt.shop import Shop

health = Blueprint("health", __name__)

# Jobs run every minute: work that waits for longer has nobody who does it.
STALE_AFTER = timedelta(minutes=10)
_LEAST_DISK = 200 * 1024 * 1024
_HEARTBEAT = "jobs"
QUEUES: dict[str, type[InboxRow] | type[OutboxRow]] = {
    "inbox": InboxRow,
    "outbox": OutboxRow,
}


@health.get("/healthz")
def healthz() -> ResponseReturnValue:
    """The process answers."""
    return {"status": "ok"}


@health.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Whether the shop can sell; each check is "ok" or says what is wrong.

    503 if it cannot. Work that keeps failing does not stop the sale: it makes "degraded".
    """
    shop = web.shop()
    checks = {"disk": disk(shop)}
    notes: dict[str, str] = {}
    try:
        checks["database"] = database(shop)
        if checks["database"] == "ok":
            for name, kind in QUEUES.items():
                checks[name], notes[name] = queue_status(shop, kind)
            notes["jobs"] = _jobs(shop)
    except SQLAlchemyError as error:
        checks["database"] = f"does not answer ({type(error).__name__})"
    ready = all(text == "ok" for text in checks.values())
    noted = {name: text for name, text in notes.items() if text}
    status = ("degraded" if noted else "ok") if ready else "failing"
    return {"status": status, "checks": checks | noted}, 200 if ready else 503


@health.get("/metrics")
def exposed_metrics() -> ResponseReturnValue:
    """Prometheus' metrics, for this machine or for who knows the token."""
    shop = web.shop()
    if not _may_see_metrics(shop.settings.metrics_token):
        raise NotFound("metrics are for this machine or with TMT_METRICS_TOKEN")
    body = metrics.exposition() + _queue_lines(shop).encode()
    return Response(body, content_type=metrics.CONTENT_TYPE)


def _may_see_metrics(token: str) -> bool:
    if token:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(sent.encode(), token.encode())
    return web.is_local(request.remote_addr)


def record_heartbeat(shop: Shop) -> None:
    """A sign of life of the jobs, for themselves to give every minute."""
    shop.db.transaction(lambda session: cursors.advance(session, _HEARTBEAT, shop.clock.now()))


def last_heartbeat(shop: Shop) -> datetime | None:
    """When the jobs gave their last sign of life; None if they never did."""
    with shop.db.reading() as session:
        return cursors.read(session, _HEARTBEAT)


def database(shop: Shop) -> str:
    """Whether the database has the schema that this code needs: "ok", or what to do."""
    revision = schema.current_revision(shop.db)
    newest = schema.newest_revision()
    return "ok" if revision == newest else f"is at revision {revision}: run flask db upgrade"


def disk(shop: Shop) -> str:
    """Whether there is room on the disk for what the shop keeps beside the database."""
    shop.settings.instance.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(shop.settings.instance).free
    return "ok" if free >= _LEAST_DISK else f"only {free // 1024**2} MiB are free"


def _jobs(shop: Shop) -> str:
    """What is to be said of jobs that ran once and do so no more, if anything."""
    last = last_heartbeat(shop)
    if last is None or shop.clock.now() - last < STALE_AFTER:
        return ""
    return f"no sign of life since {last:%Y-%m-%d %H:%M} UTC: are the jobs running?"


def queue_status(shop: Shop, kind: type[queued_rows.QueuedRow]) -> tuple[str, str]:
    """What stops the sale, or "ok"; and what a person should look at, if anything."""
    with shop.db.reading() as session:
        standing = queued_rows.backlog(session, kind, shop.clock.now())
    note = f"{standing.failing} rows fail and are tried again" if standing.failing else ""
    if standing.parked:
        note = f"{standing.parked} rows failed too often and wait for a person"
    if standing.unclaimed < STALE_AFTER:
        return "ok", note
    return f"the oldest row has waited {standing.unclaimed}: are the jobs running?", ""


def _queue_lines(shop: Shop) -> str:
    """What is asked of the database, and so the same for every worker."""
    lines = ["# HELP tmt_open_work Rows still to be done", "# TYPE tmt_open_work gauge"]
    with shop.db.reading() as session:
        for name, kind in QUEUES.items():
            rows = session.scalar(select(func.count()).where(kind.done_at.is_(None)))
            lines.append(f'tmt_open_work{{queue="{name}"}} {rows}')
        outcomes = card_testing.outcomes_last_hour(session, shop.clock.now())
    lines += [
        "# HELP tmt_last_hour_payments Payments that Stripe told the end of, within an hour",
        "# TYPE tmt_last_hour_payments gauge",
        f'tmt_last_hour_payments{{outcome="succeeded"}} {outcomes.succeeded}',
        f'tmt_last_hour_payments{{outcome="failed"}} {outcomes.failed}',
    ]
    return "\n".join(lines) + "\n"
