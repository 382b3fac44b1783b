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
from tmt.payments import alerts, card_testing, refusals
from tmt.shop import Shop

health = Blueprint("health", __name__)

# Jobs run every minute: a row that waits for longer is not being worked on.
STALE_AFTER = timedelta(minutes=10)
QUEUES: dict[str, type[InboxRow] | type[OutboxRow]] = {"inbox": InboxRow, "outbox": OutboxRow}
_MIN_FREE_DISK = 200 * 1024 * 1024
_HEARTBEAT_CURSOR = "jobs"


@health.get("/healthz")
def healthz() -> ResponseReturnValue:
    """The process answers."""
    return {"status": "ok"}


@health.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Whether the shop can sell; each check is "ok" or says what is wrong.

    503 if it cannot. Rows that keep failing, jobs that have stopped, and calls that Stripe refuses
    are nothing that another process would do better: then the status is "degraded".
    """
    shop = web.shop()
    checks = {"disk": disk_status(shop)}
    warnings: dict[str, str] = {}
    try:
        checks["database"] = database_status(shop)
        if checks["database"] == "ok":
            for name, table in QUEUES.items():
                checks[name], warnings[name] = _queue_status(shop, table)
            warnings["stripe"] = stripe_status(shop)
            last = last_heartbeat(shop)
            if last and shop.clock.now() - last >= STALE_AFTER:
                text = f"no sign of life since {last:%Y-%m-%d %H:%M} UTC: is flask jobs running?"
                warnings["jobs"] = text
    except SQLAlchemyError as error:
        checks["database"] = f"does not answer ({type(error).__name__})"
    is_ready = all(text == "ok" for text in checks.values())
    warnings = {name: text for name, text in warnings.items() if text}
    status = ("degraded" if warnings else "ok") if is_ready else "failing"
    return {"status": status, "checks": checks | warnings}, 200 if is_ready else 503


@health.get("/metrics")
def exposed_metrics() -> ResponseReturnValue:
    """Prometheus metrics, for this machine or with the token."""
    shop = web.shop()
    token = shop.settings.metrics_token
    if token:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        is_allowed = hmac.compare_digest(sent.encode(), token.encode())
    else:
        is_allowed = web.is_local(request.remote_addr)
    if not is_allowed:
        raise NotFound("metrics are for this machine or with TMT_METRICS_TOKEN")
    body = metrics.exposition() + _database_metrics(shop).encode()
    return Response(body, content_type=metrics.CONTENT_TYPE)


def record_heartbeat(shop: Shop) -> None:
    """A job: records that the jobs are running."""
    now = shop.clock.now()
    shop.db.transaction(lambda session: cursors.advance(session, _HEARTBEAT_CURSOR, now))


def last_heartbeat(shop: Shop) -> datetime | None:
    """When the jobs were last running; None if they never were."""
    with shop.db.reading() as session:
        return cursors.read(session, _HEARTBEAT_CURSOR)


def database_status(shop: Shop) -> str:
    """Whether the database has the schema that this code needs: "ok", or what to do."""
    revision = schema.current_revision(shop.db)
    newest = schema.newest_revision()
    return "ok" if revision == newest else f"is at revision {revision}: run flask db upgrade"


def stripe_status(shop: Shop) -> str:
    """What Stripe refuses at present, by the last calls, or nothing."""
    with shop.db.reading() as session:
        refused = {alerts.KINDS[alert.kind][0] for alert in refusals.open_refusals(session)}
    return " ".join(sorted(refused))


def disk_status(shop: Shop) -> str:
    """Whether the disk has room for the files that the shop writes: "ok", or how little is free."""
    shop.settings.instance.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(shop.settings.instance).free
    return "ok" if free >= _MIN_FREE_DISK else f"only {free // 1024**2} MiB are free"


def _queue_status(shop: Shop, table: type[queued_rows.QueuedRow]) -> tuple[str, str]:
    """What stops the sale, or "ok"; and what a person should look at, or nothing."""
    with shop.db.reading() as session:
        backlog = queued_rows.backlog(session, table, shop.clock.now())
    if backlog.unclaimed >= STALE_AFTER:
        return f"the oldest row has waited {backlog.unclaimed}: is flask jobs running?", ""
    if backlog.parked:
        return "ok", f"{backlog.parked} rows failed too often and wait for a person"
    return "ok", f"{backlog.failing} rows fail and are tried again" if backlog.failing else ""


def _database_metrics(shop: Shop) -> str:
    """The metrics that are counted in the database, and so are the same for every worker."""
    lines = [
        "# HELP tmt_queued_rows Rows of the inbox and the outbox that are not done",
        "# TYPE tmt_queued_rows gauge",
    ]
    with shop.db.reading() as session:
        for name, table in QUEUES.items():
            rows = session.scalar(select(func.count()).where(table.done_at.is_(None)))
            lines.append(f'tmt_queued_rows{{queue="{name}"}} {rows}')
        outcomes = card_testing.outcomes_last_hour(session, shop.clock.now())
    lines += [
        "# HELP tmt_last_hour_payments Payments that succeeded or failed within the last hour",
        "# TYPE tmt_last_hour_payments gauge",
        f'tmt_last_hour_payments{{outcome="succeeded"}} {outcomes.succeeded}',
        f'tmt_last_hour_payments{{outcome="failed"}} {outcomes.failed}',
    ]
    return "\n".join(lines) + "\n"
