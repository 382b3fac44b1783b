"""A customer's row: made with the first order, changed on the account page."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from tmt.core.database import InsertIfAbsent
from tmt.core.email_address import email_key
from tmt.customers.models import Company, Customer, CustomerLink, CustomerSession, EmailChange
from tmt.shop import Shop

_INSERT = InsertIfAbsent(Customer, "email_key")


def customer_for(session: Session, shop: Shop, email: str, name: str, locale: str) -> int:
    """The id of the customer with this address, who is added if there is none.

    The row cannot be deleted before the transaction ends. An order asks for it before it takes
    tickets, so that two orders of one customer wait for each other at the same rows in one order.
    """
    key = email_key(email)
    person = {"email": email, "email_key": key, "name": name, "locale": locale}
    values = person | {"created_at": shop.clock.now()}
    query = select(Customer.id).where(Customer.email_key == key)
    while True:
        _INSERT.run(session, values)
        customer_id = session.scalar(query.with_for_update(read=True, key_share=True))
        # One that was deleted meanwhile is added again.
        if customer_id is not None:
            return customer_id


def lock_customer(session: Session, customer_id: int) -> int | None:
    """The id, whose row cannot be deleted before the transaction ends; None if it is gone."""
    query = select(Customer.id).where(Customer.id == customer_id)
    return session.scalar(query.with_for_update(read=True, key_share=True))


def find_by_email(session: Session, email: str) -> Customer | None:
    """The customer with this address, if there is one."""
    return session.scalar(select(Customer).where(Customer.email_key == email_key(email)))


def change_details(shop: Shop, customer_id: int, name: str, locale: str) -> None:
    """Changes the name and the language of mails."""
    statement = update(Customer).where(Customer.id == customer_id)

    def unit(session: Session) -> None:
        session.execute(statement.values(name=name, locale=locale))

    shop.db.transaction(unit)


def find_company(session: Session, customer_id: int) -> Company | None:
    """The customer's company, if there is one."""
    return session.get(Company, customer_id)


def change_company(shop: Shop, customer_id: int, details: Mapping[str, str] | None) -> None:
    """Stores the company's columns as they are now, or that there is none."""

    def unit(session: Session) -> None:
        # Locked, so that two forms at once come one after the other.
        session.get_one(Customer, customer_id, with_for_update=True)
        session.execute(delete(Company).where(Company.customer_id == customer_id))
        if details:
            session.add(Company(customer_id=customer_id, **details))

    shop.db.transaction(unit)


def delete_customer(session: Session, customer_id: int) -> None:
    """Deletes the customer with company, sessions and links; no order may refer to it any more."""
    for table in (CustomerLink, EmailChange, CustomerSession, Company):
        session.execute(delete(table).where(table.customer_id == customer_id))
    session.execute(delete(Customer).where(Customer.id == customer_id))


def purge_ended(shop: Shop) -> None:
    """Deletes links, changes of addresses and sessions whose time is over."""
    now = shop.clock.now()

    def unit(session: Session) -> None:
        # Links refer to changes.
        for table in (CustomerLink, EmailChange, CustomerSession):
            session.execute(delete(table).where(table.expires_at <= now))

    shop.db.transaction(unit)
