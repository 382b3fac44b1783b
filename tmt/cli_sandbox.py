"""`flask sandbox …`: the stand-in for Stripe run alone, and moved and troubled while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import requests
from flask.cli import with_appcontext

from tmt.web import shop as current_shop

_TIMEOUT = 60


@click.group("sandbox", invoke_without_command=True)
@click.option("--port", default=12111, show_default=True)
@click.option("--store", default="instance/sandbox-alone.sqlite", show_default=True)
@click.option("--webhook", default="http://127.0.0.1:5000/stripe_webhook", show_default=True)
@click.pass_context
def sandbox_command(context: click.Context, port: int, store: str, webhook: str) -> None:
    """Runs the stand-in for Stripe alone; point STRIPE_API_BASE at it."""
    if context.invoked_subcommand:
        return
    from tmt.sandbox.server import serve

    Path(store).parent.mkdir(parents=True, exist_ok=True)
    serve(port=port, store=store, webhook=webhook, say=click.echo)


@sandbox_command.command("advance")
@click.argument("span")
@with_appcontext
def sandbox_advance(span: str) -> None:
    """Moves the running sandbox's clock on by a SPAN such as 30m, 12h or 5d; the shop's follows."""
    moved = _asked("POST", "clock", {"advance": span}, f"'{span}'")
    click.echo(f"The sandbox is now {moved['ahead']} seconds ahead.")


@sandbox_command.command("fault")
@click.argument("kind")
@click.option("--match", default="*", show_default=True, help='"POST /v1/refunds" or "charge.*".')
@click.option("--times", default="1", show_default=True, help='How often, or "always".')
@click.option("--share", type=float, default=1.0, show_default=True, help="0.3: every third or so.")
@click.option("--seconds", type=float, help="How long, of hang, delay, reorder and clock_skew.")
@click.option("--version", help="Of which API, for api_version.")
@with_appcontext
def sandbox_fault(kind: str, **order: Any) -> None:
    """Orders trouble of the running sandbox, such as lose_answer, 500, drop or double.

    It strikes the next call or event that matches. The sandbox's own pages say what there is.
    """
    given = {name: value for name, value in order.items() if value is not None}
    for fault in _asked("POST", "faults", {"kind": kind, **given}, f"'{kind}'")[-1:]:
        click.echo(_line(fault))


@sandbox_command.command("faults")
@with_appcontext
def sandbox_faults() -> None:
    """The trouble that is still to strike, one a line."""
    ordered = _asked("GET", "faults", {}, "to tell")
    for fault in ordered:
        click.echo(_line(fault))
    if not ordered:
        click.echo("no trouble")


@sandbox_command.command("calm")
@click.argument("number", type=int, required=False)
@with_appcontext
def sandbox_calm(number: int | None) -> None:
    """Ends all trouble, or the one with this NUMBER."""
    left = _asked("POST", "faults/clear", {"id": number or 0}, "to be calm")
    click.echo(f"{len(left)} left" if left else "no trouble")


def _line(fault: dict[str, Any]) -> str:
    often = "always" if fault["times"] is None else f"{fault['times']} times"
    words = [f"{fault['id']:>4}  {fault['kind']:<16} {fault['match']:<28} {often}"]
    words += [f"share={fault['share']}"] if fault["share"] < 1 else []
    return "  ".join([*words, *(f"{name}={value}" for name, value in fault["details"].items())])


def _asked(method: str, path: str, given: dict[str, Any], what: str) -> Any:
    """What the running sandbox answers, beside this shop or alone at STRIPE_API_BASE."""
    settings = current_shop().settings
    root, key = settings.stripe_api_base, settings.stripe_secret_key
    if not root:
        raise click.ClickException("this shop runs on Stripe itself, which obeys nobody here")
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
    url = f"{root}/{path}"
    try:
        answer = requests.request(method, url, data=given, headers=headers, timeout=_TIMEOUT)
    except requests.ConnectionError:
        raise click.ClickException(f"nobody answers at {root}: is flask run running?") from None
    if not answer.ok:
        raise click.ClickException(f"the sandbox refuses {what}: {answer.text.strip()[:200]}")
    return answer.json()
