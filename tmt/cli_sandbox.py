"""`flask sandbox …`: runs the sandbox alone; moves its clock and sets its faults while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import requests
from flask.cli import with_appcontext

from tmt.environment import left_address
from tmt.web import shop as current_shop

_TIMEOUT = 60


@click.group("sandbox", invoke_without_command=True)
@click.option("--port", default=12111, show_default=True)
@click.option("--store", help="Its file.  [default: sandbox-alone.sqlite in TMT_INSTANCE]")
@click.option("--webhook", help="Where events go.  [default: where flask run serves the shop]")
@click.option("--pinned", is_flag=True, help="Refuse every key but the two that are printed.")
@click.pass_context
@with_appcontext
def sandbox_command(
    context: click.Context, port: int, store: str | None, webhook: str | None, pinned: bool
) -> None:
    """Runs the stand-in for Stripe alone; point STRIPE_API_BASE at it.

    Every key of Stripe's test mode opens it.
    """
    if context.invoked_subcommand:
        return
    from tmt.sandbox.server import serve

    instance = current_shop().settings.instance
    store = store or str(instance / "sandbox-alone.sqlite")
    webhook = webhook or f"{left_address(instance)}/stripe_webhook"
    Path(store).parent.mkdir(parents=True, exist_ok=True)
    serve(port=port, store=store, webhook=webhook, pinned=pinned, say=click.echo)


@sandbox_command.command("advance")
@click.argument("span")
@with_appcontext
def sandbox_advance(span: str) -> None:
    """Moves the running sandbox's clock on by a SPAN such as 30m, 12h or 5d; the shop's follows."""
    clock = _call_sandbox("POST", "clock", {"advance": span}, f"'{span}'")
    click.echo(f"The sandbox is now {clock['ahead']} seconds ahead.")


@sandbox_command.command("fault")
@click.argument("kind")
@click.option("--match", default="*", show_default=True, help='"POST /v1/refunds" or "charge.*".')
@click.option("--times", default="1", show_default=True, help='How often, or "always".')
@click.option("--share", type=float, default=1.0, show_default=True, help="0.3: every third or so.")
@click.option("--seconds", type=float, help="How long, of hang, delay, reorder and clock_skew.")
@click.option("--version", help="Of which API, for api_version.")
@with_appcontext
def sandbox_fault(kind: str, **options: Any) -> None:
    """Orders trouble of the running sandbox, such as lose_answer, 500, drop or double.

    It strikes the next call or event that matches. The sandbox's own pages say what there is.
    """
    fault = {name: value for name, value in options.items() if value is not None}
    faults = _call_sandbox("POST", "faults", {"kind": kind, **fault}, f"'{kind}'")
    for newest in faults[-1:]:
        click.echo(_fault_line(newest))


@sandbox_command.command("faults")
@with_appcontext
def sandbox_faults() -> None:
    """The trouble that is still to strike, one a line."""
    faults = _call_sandbox("GET", "faults", {}, "to list its faults")
    for fault in faults:
        click.echo(_fault_line(fault))
    if not faults:
        click.echo("no trouble")


@sandbox_command.command("calm")
@click.argument("number", type=int, required=False)
@with_appcontext
def sandbox_calm(number: int | None) -> None:
    """Ends all trouble, or the one with this NUMBER."""
    faults = _call_sandbox("POST", "faults/clear", {"id": number or 0}, "to be calm")
    click.echo(f"{len(faults)} left" if faults else "no trouble")


def _fault_line(fault: dict[str, Any]) -> str:
    often = "always" if fault["times"] is None else f"{fault['times']} times"
    words = [f"{fault['id']:>4}  {fault['kind']:<16} {fault['match']:<28} {often}"]
    words += [f"share={fault['share']}"] if fault["share"] < 1 else []
    return "  ".join([*words, *(f"{name}={value}" for name, value in fault["details"].items())])


def _call_sandbox(method: str, path: str, data: dict[str, Any], request: str) -> Any:
    """The JSON response of the sandbox that runs in this shop or alone at STRIPE_API_BASE.

    `request` is for the error message; raises `ClickException`.
    """
    settings = current_shop().settings
    root, key = settings.stripe_api_base, settings.stripe_secret_key
    if not root:
        raise click.ClickException("this shop uses Stripe itself: there is no sandbox to control")
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
    url = f"{root}/{path}"
    try:
        response = requests.request(method, url, data=data, headers=headers, timeout=_TIMEOUT)
    except requests.ConnectionError:
        raise click.ClickException(f"no response from {root}: is flask run running?") from None
    if not response.ok:
        raise click.ClickException(f"the sandbox refuses {request}: {response.text.strip()[:200]}")
    return response.json()
