"""A customer's new e-mail address, which counts once both the old and the new one confirm it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from tmt.core import outbox
from tmt.core.email_address import email_key
from tmt.core.errors import NotFound
from tmt.core.ids import new_token
from tmt.core.mailer import Mailer
from tmt.customers.accounts import delete_customer
from tmt.customers.links import LinkEnded, add_link, find_link, use_link
from tmt.customers.models import Company, Customer, CustomerLink, EmailChange, LinkPurpose
from tmt.customers.sign_in import end_links, end_sessions
from tmt.shop import Shop

log = structlog.get_logger(__name__)

CHANGE_LIFE = timedelta(hours=24)
_BOTH = (LinkPurpose.LEAVE_ADDRESS, LinkPurpose.TAKE_ADDRESS)

# Moves what higher packages have of one customer to another: (session, from, to).
MoveOwned = Callable[[Session, int, int], None]


def request_change(shop: Shop, customer_id: int, email: str, locale: str) -> None:
    """Sends a link to both addresses; an earlier change that waits is given up.

    Nothing says whether the new address is another customer's. Nothing happens if it is the
    customer's already.
    """

    def unit(session: Session) -> None:
        now = shop.clock.now()
        customer = session.get_one(Customer, customer_id, with_for_update=True)
        _give_up(session, customer_id)
        if customer.email == email:
            return
        change = EmailChange(customer_id=customer_id, email=email, locale=locale)
        change.expires_at = now + CHANGE_LIFE
        session.add(change)
        session.flush()
        for purpose in _BOTH:
            payload = {"change": change.id, "purpose": str(purpose)}
            key = f"email_change-{purpose}-{new_token()}"
            outbox.put(session, "email_change", key, payload, now)

    shop.db.transaction(unit)
    shop.jobs.trigger("outbox")


def send_email_change(shop: Shop, mailer: Mailer, key: str, payload: dict[str, Any]) -> None:
    """An outbox handler: the mail with the link to one of the two addresses."""
    purpose = LinkPurpose(payload["purpose"])

    def unit(session: Session) -> tuple[str, str, dict[str, Any]] | None:
        change = session.get(EmailChange, payload["change"])
        if change is None or change.expires_at <= shop.clock.now():
            return None
        customer = session.get_one(Customer, change.customer_id)
        token = add_link(session, customer.id, purpose, change.expires_at, change.id)
        context = {
            "confirm_url": f"{shop.settings.base_url}/account/email/{token}",
            "old_email": customer.email,
            "new_email": change.email,
            "to_new": purpose == LinkPurpose.TAKE_ADDRESS,
            "hours": CHANGE_LIFE // timedelta(hours=1),
        }
        to = change.email if context["to_new"] else customer.email
        return to, change.locale, context

    if sent := shop.db.transaction(unit):
        to, locale, context = sent
        mailer.send("email_change", key, to, locale, context)


def waiting_change(session: Session, shop: Shop, customer_id: int) -> EmailChange | None:
    """The customer's change that waits to be confirmed."""
    is_open = EmailChange.expires_at > shop.clock.now()
    query = select(EmailChange).where(EmailChange.customer_id == customer_id, is_open)
    return session.scalar(query)


def find_to_confirm(session: Session, shop: Shop, token: str) -> tuple[Customer, EmailChange]:
    """What such a link is about; raises `LinkEnded`."""
    link = find_link(session, token, _BOTH, shop.clock.now())
    return (
        session.get_one(Customer, link.customer_id),
        session.get_one(EmailChange, link.email_change_id),
    )


def confirm(shop: Shop, token: str, move_owned: MoveOwned) -> bool:
    """Confirms the change for the address the link was sent to; whether it counts now.

    Then all sessions and links of the customer end. Whoever was a customer with the new address is
    the same person: `move_owned` moves what is theirs. Raises `LinkEnded`.
    """

    def unit(session: Session) -> int | None:
        now = shop.clock.now()
        link = use_link(session, token, _BOTH, now)
        customer = session.get_one(Customer, link.customer_id, with_for_update=True)
        change = session.get(EmailChange, link.email_change_id, populate_existing=True)
        if change is None:
            raise LinkEnded("the change was given up")
        if link.purpose == LinkPurpose.LEAVE_ADDRESS:
            change.left_at = now
        else:
            change.taken_at = now
        session.flush()
        if not (change.left_at and change.taken_at):
            return None
        _change(session, customer, change.email, move_owned)
        return customer.id

    customer_id = shop.db.transaction(unit)
    if customer_id:
        log.info("customer.email_changed", customer=customer_id)
    return customer_id is not None


def change_at_once(shop: Shop, customer_id: int, email: str, move_owned: MoveOwned) -> None:
    """The same without any link, on the organiser's word; raises `NotFound`."""

    def unit(session: Session) -> None:
        customer = session.get(Customer, customer_id, with_for_update=True)
        if customer is None:
            raise NotFound("the customer is gone")
        _change(session, customer, email, move_owned)

    shop.db.transaction(unit)
    log.info("customer.email_changed", customer=customer_id)


def give_up(shop: Shop, customer_id: int) -> None:
    """Gives up the change that waits; its links end."""
    shop.db.transaction(lambda session: _give_up(session, customer_id))


def _give_up(session: Session, customer_id: int) -> None:
    own = CustomerLink.customer_id == customer_id
    session.execute(delete(CustomerLink).where(own, CustomerLink.purpose.in_(_BOTH)))
    session.execute(delete(EmailChange).where(EmailChange.customer_id == customer_id))


def _change(session: Session, customer: Customer, email: str, move_owned: MoveOwned) -> None:
    """Gives the customer, who is locked, the address; sessions and links end."""
    _give_up(session, customer.id)
    end_links(session, customer.id)
    end_sessions(session, customer.id)
    # Locked, so that no order of theirs is placed before they are gone.
    is_other = (Customer.email_key == email_key(email)) & (Customer.id != customer.id)
    other_id = session.scalar(select(Customer.id).where(is_other).with_for_update())
    if other_id is not None:
        move_owned(session, other_id, customer.id)
        if session.get(Company, customer.id) is None:
            theirs = update(Company).where(Company.customer_id == other_id)
            session.execute(theirs.values(customer_id=customer.id))
        delete_customer(session, other_id)
    customer.email, customer.email_key = email, email_key(email)
