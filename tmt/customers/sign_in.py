"""Signing in by a link in a mail, and the sessions of those who are signed in.

There is no password: who reads the mails of an address is its customer. A session is a random token
in the browser's cookie and a row here, so that it can be ended from anywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tmt.core import outbox
from tmt.core.ids import is_token, new_token
from tmt.core.mailer import Mailer
from tmt.customers.accounts import find_by_email
from tmt.customers.links import add_link, find_link, hashed, use_link
from tmt.customers.models import Customer, CustomerLink, CustomerSession, LinkPurpose
from tmt.shop import Shop

log = structlog.get_logger(__name__)

LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(days=30)
_SIGN_IN = (LinkPurpose.SIGN_IN,)


def request_link(shop: Shop, email: str, locale: str) -> None:
    """Has a link sent to the address, if it is a customer's; does the same work for any other."""

    def unit(session: Session) -> None:
        customer, now = find_by_email(session, email), shop.clock.now()
        until = int((now + LINK_LIFE).timestamp())
        payload = {"customer": customer.id if customer else None, "locale": locale, "until": until}
        outbox.put(session, "sign_in", f"sign_in-{new_token()}", payload, now)

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")


def send_sign_in(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: the mail with the link. None is sent to who is no customer.

    Nor is one when its time is over: who still waits has asked again.
    """
    until = datetime.fromtimestamp(payload["until"], UTC)
    if payload["customer"] is None or until <= shop.clock.now():
        return

    def unit(session: Session) -> tuple[str, str] | None:
        customer = session.get(Customer, payload["customer"])
        if customer is None:
            return None
        return customer.email, add_link(session, customer.id, LinkPurpose.SIGN_IN, until)

    if sent := shop.db.transaction(unit):
        email, token = sent
        context = {
            "sign_in_url": f"{shop.settings.base_url}/sign-in/{token}",
            "minutes": LINK_LIFE // timedelta(minutes=1),
        }
        mailer.send("sign_in", key, email, payload["locale"], context)


def find_to_sign_in(session: Session, shop: Shop, token: str) -> Customer:
    """The customer whom the link signs in; it is not used up by that. Raises `LinkEnded`."""
    link = find_link(session, token, _SIGN_IN, shop.clock.now())
    return session.get_one(Customer, link.customer_id)


def sign_in(shop: Shop, token: str) -> str:
    """The token of a new session, for a link that was not used yet; raises `LinkEnded`.

    The customer's other links to sign in end with it.
    """
    session_token, now = new_token(), shop.clock.now()

    def unit(session: Session) -> int:
        link = use_link(session, token, _SIGN_IN, now)
        customer = session.get_one(Customer, link.customer_id)
        end_links(session, customer.id)
        expired = CustomerSession.expires_at <= now
        own = CustomerSession.customer_id == customer.id
        session.execute(delete(CustomerSession).where(own, expired))
        customer.signed_in_at = now
        row = CustomerSession(customer_id=customer.id, token_hash=hashed(session_token))
        row.created_at, row.expires_at = now, now + SESSION_LIFE
        session.add(row)
        return customer.id

    customer_id = shop.db.transaction(unit)
    log.info("customer.signed_in", customer=customer_id)
    return session_token


def find_signed_in(session: Session, shop: Shop, session_token: str) -> Customer | None:
    """The customer of this session, unless it was ended or is too old."""
    if not is_token(session_token):
        return None
    is_open = CustomerSession.expires_at > shop.clock.now()
    query = select(Customer).join(CustomerSession, CustomerSession.customer_id == Customer.id)
    return session.scalar(query.where(CustomerSession.token_hash == hashed(session_token), is_open))


def count_sessions(session: Session, shop: Shop, customer_id: int) -> int:
    """In how many browsers the customer is signed in."""
    is_open = CustomerSession.expires_at > shop.clock.now()
    query = select(func.count()).select_from(CustomerSession)
    return session.scalar(query.where(CustomerSession.customer_id == customer_id, is_open)) or 0


def sign_out(shop: Shop, session_token: str) -> None:
    """Ends this session; nothing happens if it was ended already."""
    ended = delete(CustomerSession).where(CustomerSession.token_hash == hashed(session_token))
    shop.db.transaction(lambda session: session.execute(ended))


def sign_out_everywhere(shop: Shop, customer_id: int) -> None:
    """Ends all sessions of the customer, and the links that would begin another."""

    def unit(session: Session) -> None:
        end_sessions(session, customer_id)
        end_links(session, customer_id)

    shop.db.transaction(unit)
    log.info("customer.signed_out_everywhere", customer=customer_id)


def end_sessions(session: Session, customer_id: int) -> None:
    """Ends all sessions of the customer, in the caller's transaction."""
    session.execute(delete(CustomerSession).where(CustomerSession.customer_id == customer_id))


def end_links(session: Session, customer_id: int) -> None:
    """Ends the customer's links to sign in, in the caller's transaction."""
    own = CustomerLink.customer_id == customer_id
    session.execute(delete(CustomerLink).where(own, CustomerLink.purpose.in_(_SIGN_IN)))
