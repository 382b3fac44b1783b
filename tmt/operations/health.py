"""Health and metrics: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import hmac
import shutil
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tmt import web
from tmt.core import cursors, job_runs, metrics, outbox, queued_rows, schema
from tmt.core.addresses import forwarding_headers
from tmt.core.errors import NotFound
from tmt.core.job_runs import JobWorker
from tmt.core.outbox import OutboxRow
from tmt.gateway.inbox import InboxRow
from tmt.operations.public_address import PROBE_HEADER, is_signed
from tmt.payments import alerts, card_testing, refusals
from tmt.shop import Shop

health = Blueprint("health", __name__)

# Jobs run every minute: a row that waits for longer is not being worked on.
STALE_AFTER = timedelta(minutes=10)
QUEUES: dict[str, type[InboxRow] | type[OutboxRow]] = {"inbox": InboxRow, "outbox": OutboxRow}
# The jobs that work on each queue, each with its part of the rows.
LANES: dict[str, Mapping[str, ColumnElement[bool]]] = {
    "inbox": {"inbox": true()},
    "outbox": outbox.lanes(),
}
_PARTIES = {"inbox": "Stripe", "refunds": "Stripe"} | dict.fromkeys(
    ("alerts", "mails"), "the mail server"
)
_MIN_FREE_DISK = 200 * 1024 * 1024
_HEARTBEAT_CURSOR = "jobs"
_THROUGH_A_PROXY = (
    "Metrics without TMT_METRICS_TOKEN are for this machine only, and a proxy passed this request"
    " on. Set TMT_METRICS_TOKEN and send it as a bearer token.\n"
)
# Whoever gave no sign of life for so long was not replaced: it is no longer missed.
_FORGOTTEN_AFTER = timedelta(days=1)


@health.get("/healthz")
def healthz() -> ResponseReturnValue:
    """The process answers."""
    return {"status": "ok"}


@health.post("/healthz")
def probe() -> ResponseReturnValue:
    """Tells a doctor of this shop, and nobody else, how its request arrived."""
    if not is_signed(web.shop().settings, request.headers.get(PROBE_HEADER, "")):
        raise NotFound("only for flask doctor")
    started = time.monotonic()
    request.get_data()
    return {
        "status": "ok",
        "arrival": {
            "client": web.client_address(),
            "host": request.host,
            "scheme": request.scheme,
            "forwarded_for": request.headers.get("X-Forwarded-For", ""),
            "headers": forwarding_headers(request.environ),
            "seconds": time.monotonic() - started,
        },
    }


web.csrf.exempt(probe)


@health.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Whether the shop can sell; each check is "ok" or says what is wrong.

    503 if it cannot. Rows that keep failing, a mail server that does not answer, jobs that have
    stopped and calls that Stripe refuses do not end the sale: then the status is "degraded".
    """
    shop = web.shop()
    checks = {"disk": disk_status(shop)}
    warnings: dict[str, str] = {}
    try:
        checks["database"] = database_status(shop)
        if checks["database"] == "ok":
            for name in QUEUES:
                checks[name], warnings[name] = queue_status(shop, name)
            warnings["stripe"] = stripe_status(shop)
            warnings["jobs"] = _jobs_warning(shop)
    except SQLAlchemyError as error:
        checks["database"] = f"does not answer ({type(error).__name__})"
    is_ready = all(text == "ok" for text in checks.values())
    warnings = {name: text for name, text in warnings.items() if text}
    status = ("degraded" if warnings else "ok") if is_ready else "failing"
    return {"status": status, "checks": checks | warnings}, 200 if is_ready else 503


@health.get("/metrics")
def exposed_metrics() -> ResponseReturnValue:
    """Prometheus metrics: with the token, or for this machine where no proxy can stand between."""
    shop = web.shop()
    token = shop.settings.metrics_token
    if token:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        is_allowed = hmac.compare_digest(sent.encode(), token.encode())
    else:
        is_allowed = web.is_this_machine()
        if not is_allowed and web.reject_unannounced_proxy():
            return _THROUGH_A_PROXY, 400, {"Content-Type": "text/plain; charset=utf-8"}
    if not is_allowed:
        raise NotFound("metrics are for this machine or with TMT_METRICS_TOKEN")
    body = metrics.exposition() + _database_metrics(shop).encode()
    return Response(body, content_type=metrics.CONTENT_TYPE)


def begin_heartbeats(shop: Shop) -> None:
    """A process begins to run jobs: it comes in the place of those of this machine that ended."""
    shop.db.transaction(job_runs.forget_dead_workers)
    record_heartbeat(shop)


def record_heartbeat(shop: Shop) -> None:
    """A job of each process that runs jobs: records that it does."""
    now = shop.clock.now()

    def unit(session: Session) -> None:
        job_runs.beat(session, now)
        job_runs.forget_workers(session, before=now - _FORGOTTEN_AFTER)
        # Stays when the last process has been stopped.
        cursors.advance(session, _HEARTBEAT_CURSOR, now)

    shop.db.transaction(unit)


def end_heartbeats(shop: Shop) -> None:
    """A process stops to run jobs; it is not one that gives no sign of life."""
    shop.db.transaction(job_runs.forget_workers)


def last_heartbeat(shop: Shop) -> datetime | None:
    """When any process was last running jobs; None if none ever was."""
    with shop.db.reading() as session:
        return cursors.read(session, _HEARTBEAT_CURSOR)


def silent_workers(shop: Shop) -> list[JobWorker]:
    """The processes that ran jobs and give no sign of life, though they were not stopped."""
    limit = shop.clock.now() - STALE_AFTER
    with shop.db.reading() as session:
        return [worker for worker in job_runs.workers(session) if worker.seen_at <= limit]


def _jobs_warning(shop: Shop) -> str:
    last = last_heartbeat(shop)
    if last and shop.clock.now() - last >= STALE_AFTER:
        return f"no sign of life since {last:%Y-%m-%d %H:%M} UTC: is flask jobs running?"
    silent = silent_workers(shop)
    # Without their names: anybody may read this page.
    return f"no sign of life of {len(silent)} processes: see flask doctor" if silent else ""


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


def queue_status(shop: Shop, name: str) -> tuple[str, str]:
    """What stops the sale, or "ok"; and what a person should look at, or nothing.

    Rows that wait for an outside party, or behind rows that are being worked on, stop nothing.
    """
    table, problems = QUEUES[name], []
    now = shop.clock.now()
    with shop.db.reading() as session:
        for job, condition in LANES[name].items():
            backlog = queued_rows.backlog(session, table, now, condition)
            row = job_runs.find(session, job)
            # Whoever rests begins again with the next minute.
            is_worked_on = row is not None and (
                row.is_held(now) or row.is_resting(now, tolerance=STALE_AFTER)
            )
            if backlog.unclaimed >= STALE_AFTER and not is_worked_on:
                return f"the oldest row has waited {backlog.unclaimed}: is flask jobs running?", ""
            if row and row.failing_since and row.failures > 1:
                since = f"{row.failing_since:%Y-%m-%d %H:%M} UTC"
                problems.append(f"{job}: {_PARTIES[job]} has not answered since {since}")
            elif backlog.unclaimed >= STALE_AFTER:
                problems.append(f"{job}: the oldest row has waited {backlog.unclaimed}")
        backlog = queued_rows.backlog(session, table, now)
    if backlog.parked:
        problems.append(f"{backlog.parked} rows failed too often and wait for a person")
    elif backlog.failing:
        problems.append(f"{backlog.failing} rows fail and are tried again")
    return "ok", "; ".join(problems)


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
