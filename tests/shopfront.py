"""A shop to test against: the running shop of this process, its Stripe, and its clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import requests
import stripe
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.buyer import Buyer, order_token
from tests.servers import Served, serve
from tmt.catalog.models import Event, EventStatus, TicketType
from tmt.checkout.forms import CheckoutRequest
from tmt.checkout.models import Order
from tmt.checkout.orders import get_order
from tmt.core.clock import Clock
from tmt.core.database import Database
from tmt.core.ids import new_token
from tmt.factory import create_app
from tmt.gateway.types import API_VERSION
from tmt.payments.balances import get_payment
from tmt.payments.models import Payment
from tmt.payments.purchase import purchase
from tmt.sandbox import Endpoint, Sandbox
from tmt.shop import Shop
from tmt.tickets.models import Ticket

SECRET_KEY = "sk_test_shoptests000000000001"
PUBLISHABLE_KEY = "pk_test_shoptests000000000001"
SIGNING_SECRET = "whsec_shoptests"
_LIMITS = """
    orders_per_address orders_per_email orders_per_session confirms_per_address
    confirms_per_order api_creates_overall finds_per_address api_per_address
""".split()
F = TypeVar("F", bound="Shopfront")


class MovableClock(Clock):
    """The shop's clock, which a test can move on."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        super().__init__(lambda: self.ahead)

    def move(self, **span: float) -> None:
        self.ahead += timedelta(**span)


@dataclass
class Shopfront:
    """A running shop: its address, its parts, its Stripe."""

    app: Flask
    url: str
    shop: Shop
    clock: MovableClock
    event: Event
    sandbox: Sandbox
    stripe: stripe.StripeClient
    stripe_url: str
    servers: list[Served] = field(repr=False)

    @property
    def gateway(self) -> Any:
        return self.app.extensions["tmt"].gateway

    @property
    def stripe_store(self) -> Path:
        """The sandbox's file."""
        return self.shop.settings.instance.parent / "sandbox.sqlite"

    def buyer(self, **who: str) -> ShopfrontBuyer:
        """A new buyer, with a browser's cookies of their own."""
        return ShopfrontBuyer(self.url, front=self, **who)

    def place_directly(self, *quantities: int, **changed: Any) -> Order:
        """An order placed below the web, for trials of many rounds; as the form would place it."""
        types = self.event.ticket_types
        values: dict[str, Any] = {
            "checkout_token": new_token(),
            "quantities": {t.id: n for t, n in zip(types, quantities, strict=False) if n},
            "shown_prices": {t.id: t.price for t in types},
            "holders": {},
            "name": "Ana Ejemplo",
            "email": "ana@example.com",
        } | changed
        return purchase(self.shop, self.event.slug, CheckoutRequest(**values), "en")

    def run_jobs(self) -> None:
        """Lets every job run once."""
        self.shop.jobs.run_all()

    def order(self, code_or_token: str) -> Order:
        """The order as the database has it now."""
        with self.shop.db.reading() as session:
            query = select(Order.id).where(
                (Order.token == code_or_token) | (Order.code == code_or_token)
            )
            return get_order(session, session.scalars(query).one())

    def payment(self, order: Order) -> Payment:
        with self.shop.db.reading() as session:
            payment = get_payment(session, order.id)
        assert payment
        return payment

    def tickets(self, order: Order) -> Sequence[Ticket]:
        with self.shop.db.reading() as session:
            return session.scalars(select(Ticket).where(Ticket.order_id == order.id)).all()

    def stock(self) -> tuple[int, int]:
        """Held and sold places of the event, which its ticket types' must add up to."""
        with self.shop.db.reading() as session:
            event = session.get_one(Event, self.event.id)
            types = session.scalars(select(TicketType).where(TicketType.event_id == event.id)).all()
        assert (event.held, event.sold) == (
            sum(t.held for t in types),
            sum(t.sold for t in types),
        )
        return event.held, event.sold

    def mails(self) -> list[Path]:
        """The mails that were written so far."""
        return sorted(self.shop.settings.mail_folder.glob("*.eml"))

    def confirm(self, payment_intent: str, method: str = "pm_card_visa") -> stripe.PaymentIntent:
        """Pays at Stripe, as the buyer's browser would; a decline raises as the SDK does."""
        return self.stripe.v1.payment_intents.confirm(
            payment_intent,
            {"payment_method": method, "return_url": f"{self.url}/elsewhere"},
        )

    def deliver(self, body: bytes | str, signature: str | None = None) -> requests.Response:
        """Posts a body to the webhook, signed now unless a signature is given."""
        text = body if isinstance(body, str) else body.decode()
        if signature is None:
            signature = stripe.WebhookSignature.generate_signature_header(text, SIGNING_SECRET)
        return requests.post(
            f"{self.url}/stripe_webhook",
            data=text.encode(),
            headers={"Stripe-Signature": signature, "Content-Type": "application/json"},
            timeout=20,
        )

    def api(self, endpoint: str, data: Any, **headers: str) -> requests.Response:
        """Calls /stripe_{endpoint} as another program does, without cookie or token."""
        return requests.post(
            f"{self.url}/stripe_{endpoint}", json={"data": data}, headers=headers, timeout=20
        )

    def silence_stripe(self) -> None:
        """Has Stripe send no events any more; a test delivers them itself, or nobody does."""
        for endpoint in self.stripe.v1.webhook_endpoints.list().data:
            self.stripe.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})

    def close(self) -> None:
        self.sandbox.close()
        for server in self.servers:
            server.stop()
        self.shop.db.close()


@dataclass
class ShopfrontBuyer(Buyer):
    """A buyer of the shopfront's event, who knows its rows."""

    front: Shopfront = field(kw_only=True)

    def form(self, slug: str | None = None) -> dict[str, Any]:
        """The event page's form as the page has it, with the buyer's name filled in."""
        return self.fill_in(slug or self.front.event.slug)

    def place(self, *quantities: int, **changed: Any) -> requests.Response:
        """Posts the form for so many tickets of the event's ticket types, in their order."""
        fields = self.form()
        for ticket_type, count in zip(self.front.event.ticket_types, quantities, strict=False):
            fields[f"quantity-{ticket_type.id}"] = str(count)
        return self.submit(self.front.event.slug, fields | changed)

    def reserve(self, *quantities: int, **changed: Any) -> Order:
        """Places an order that must succeed; the order."""
        answer = self.place(*quantities, **changed)
        assert answer.status_code == 303, answer.text
        return self.front.order(order_token(answer) or "")

    def open_pay_page(self, order: Order) -> str:
        """Looks at the pay page, by which the PaymentIntent exists; its id."""
        page = self.get(f"/orders/{order.token}/pay")
        assert page.status_code == 200, page.text
        payment_intent = self.front.payment(order).payment_intent_id
        assert payment_intent
        return payment_intent

    def cancel(self, order: Order) -> requests.Response:
        return self.cancel_order(order.token)


def open_shop(database_url: str, folder: Path, settings: dict[str, Any]) -> Shopfront:
    """Starts a sandbox and a shop on it, with one event, each on a server of its own."""
    # The servers must know each other's address before either exists.
    apps: dict[str, Any] = {}
    shop_server = serve(lambda environ, start: apps["shop"](environ, start))
    stripe_server = serve(lambda environ, start: apps["stripe"](environ, start))
    box = Sandbox(
        store=str(folder / "sandbox.sqlite"),
        secret_key=SECRET_KEY,
        publishable_key=PUBLISHABLE_KEY,
        endpoints=[Endpoint(f"{shop_server.url}/stripe_webhook", SIGNING_SECRET)],
        retry_delays=(0.05, 0.1, 0.2),
    )
    addresses = {"stripe_api_base": stripe_server.url, "base_url": shop_server.url}
    app = create_app(overrides(database_url, folder, **addresses | settings))
    apps |= {"shop": app, "stripe": box.wsgi}
    box.start()
    front = front_of(Shopfront, app, box, [shop_server, stripe_server])
    # Where it listens, also when its settings name another public address.
    front.url = shop_server.url
    return front


def overrides(database_url: str, folder: Path, **settings: Any) -> dict[str, Any]:
    """The settings of a shop on a sandbox that never tells anybody to slow down."""
    return {
        "secret_key": "only for tests",
        "database_url": database_url,
        "instance": folder / "instance",
        "stripe_secret_key": SECRET_KEY,
        "stripe_publishable_key": PUBLISHABLE_KEY,
        "stripe_webhook_secrets": (SIGNING_SECRET,),
        "log_level": "WARNING",
        **dict.fromkeys(_LIMITS, "10000 per minute"),
        "unpaid_per_address": 0,
        **settings,
    }


def front_of(
    kind: type[F],
    app: Flask,
    box: Sandbox,
    servers: list[Served],
    event: Mapping[str, Any] = MappingProxyType({}),
    **more: Any,
) -> F:
    """A front of this kind for the application, with a clock that can be moved and an event."""
    shop: Shop = app.extensions["tmt"].shop
    clock = MovableClock()
    # The parts of the shop were handed this clock: it is led, not replaced.
    shop.clock._offset = lambda: clock.ahead
    stripe_url = shop.settings.stripe_api_base
    client = stripe.StripeClient(
        SECRET_KEY, base_addresses={"api": stripe_url}, stripe_version=API_VERSION
    )
    return kind(
        app=app,
        url=shop.settings.base_url,
        shop=shop,
        clock=clock,
        event=add_event(shop.db, **event),
        sandbox=box,
        stripe=client,
        stripe_url=stripe_url,
        servers=servers,
        **more,
    )


def add_event(
    db: Database,
    slug: str = "concierto",
    prices: Sequence[int] = (7500, 2500),
    capacities: Sequence[int | None] = (50, 50),
    **changed: Any,
) -> Event:
    """An event on sale in 30 days, with a ticket type for each price (minor units)."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "slug": slug,
        "title": "Concierto de prueba",
        "description": "Una noche.\n\nY otra.",
        "venue": "Sala Uno",
        "address": "Calle Mayor 1",
        "city": "Madrid",
        "starts_at": now + timedelta(days=30),
        "ends_at": now + timedelta(days=30, hours=3),
        "time_zone": "Europe/Madrid",
        "language": "es",
        "currency": "usd",
        "capacity": 80,
        "max_per_order": 8,
        "status": EventStatus.PUBLISHED,
        "updated_at": now,
    } | changed
    names = ("General", "Balcón", "Palco", "Pista")
    event = Event(**values)
    for position, (price, capacity) in enumerate(zip(prices, capacities, strict=True)):
        event.ticket_types.append(
            TicketType(
                name=names[position],
                description="",
                price=price,
                capacity=capacity,
                position=position,
            )
        )

    def unit(session: Session) -> Event:
        session.add(event)
        session.flush()
        session.refresh(event, ["ticket_types"])
        return event

    return db.transaction(unit)


def rendered_event(front: Shopfront, type_: str, object_: Any, **changed: Any) -> str:
    """The body of a Stripe event about the object, as the webhook gets it."""
    body = {
        "id": f"evt_{datetime.now(UTC).timestamp():.6f}".replace(".", ""),
        "object": "event",
        "api_version": API_VERSION,
        "created": int(datetime.now(UTC).timestamp()),
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type_,
        "data": {"object": object_},
    } | changed
    return json.dumps(body)
