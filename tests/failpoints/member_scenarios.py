"""What a member does: each scenario a function."""

from __future__ import annotations

from tests.customers import flows as customers
from tests.failpoints.crash_env import CrashEnv
from tests.failpoints.scenarios import scenario
from tests.sandbox.driver import Driver
from tests.shopfront import ShopfrontBuyer

_PLAN = """
- slug: {slug}
  family: {family}
  names: {{en: {name}}}
  status: published
  currency: USD
  price: {price}
  interval: {interval}
"""
_PLANS = (("monthly", "friends", 10, "month"), ("yearly", "friends", 90, "year"))


@scenario
def plans_changed(env: CrashEnv) -> None:
    """Plans are made, at the second try, and get another price and name."""
    Driver(env.sandbox).refuse("POST /v1/prices", 500)
    _import(env, 1, "Friends")
    env.move(hours=1)
    env.run_jobs()
    _import(env, 2, "Good friends")


@scenario
def joined(env: CrashEnv) -> None:
    """A member joins and pays, cancels, and stays after all; Stripe fails on the way."""
    _import(env, 1, "Friends")
    email, path = "eva@example.com", "/plans/monthly/join"
    stranger = env.buyer(email=email)
    customers.submit(stranger, path, path, name="Eva", email=email)
    buyer = customers.signed_in_again(env, email)
    env.ready()
    for call in ("POST /v1/customers", "POST /v1/subscriptions"):
        Driver(env.sandbox).refuse(call, 500)
    # Another plan of the family, before the first one was paid.
    for slug in ("yearly", "monthly"):
        _join(buyer, slug)
    (subscription,) = env.stripe.v1.subscriptions.list(
        {"status": "incomplete", "expand": ["data.latest_invoice.confirmation_secret"]}
    ).data
    secret = subscription.latest_invoice.confirmation_secret.client_secret
    env.confirm(secret.split("_secret_")[0])
    pages = f"/account/memberships/{subscription.metadata['tmt_membership']}"
    buyer.get(f"{pages}/return")
    for step in ("cancel", "resume"):
        customers.submit(buyer, "/account/settings", f"{pages}/{step}")
    env.deliver_events()
    env.run_jobs()


def _join(buyer: ShopfrontBuyer, slug: str) -> None:
    """Joins, and again where the page says that Stripe does not answer."""
    for _try in range(5):
        answer = customers.submit(buyer, "/account/settings", f"/plans/{slug}/join")
        if answer.headers["Location"].endswith("/pay"):
            return
    raise AssertionError(answer.headers["Location"])


def _import(env: CrashEnv, price_factor: int, name: str) -> None:
    """Imports the plans under this name, at so many times their price."""
    rows = []
    for slug, family, price, interval in _PLANS:
        values = {"slug": slug, "family": family, "interval": interval, "name": name}
        rows.append(_PLAN.format(price=price * price_factor, **values))
    path = env.settings["instance"].parent / "plans.yaml"
    path.write_text("plans:" + "".join(rows))
    env.flask("catalog", "import", str(path))
    env.run_jobs()
