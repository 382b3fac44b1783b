"""Customers: who buys, how they sign in, and where they are signed in.

Of links and sessions the database has hashes alone: whoever reads it can open nothing.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from tmt.core.database import Base, EnumText


class LinkPurpose(StrEnum):
    """What the link in a mail is for."""

    SIGN_IN = "sign_in"
    # A change of the e-mail address has to be confirmed where mails go today and where they will.
    LEAVE_ADDRESS = "leave_address"
    TAKE_ADDRESS = "take_address"


class Customer(Base):
    """An e-mail address that has ordered; `email_key` is what addresses are compared by."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    locale: Mapped[str] = mapped_column(String(2))
    created_at: Mapped[datetime]
    signed_in_at: Mapped[datetime | None]


class Company(Base):
    """The company that a customer orders for; a customer without one is a private person."""

    __tablename__ = "companies"

    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    tax_id: Mapped[str] = mapped_column(String(30))
    street: Mapped[str] = mapped_column(String(200))
    postal_code: Mapped[str] = mapped_column(String(20))
    city: Mapped[str] = mapped_column(String(100))
    # Its two-letter code (ISO 3166).
    country: Mapped[str] = mapped_column(String(2))


class CustomerSession(Base):
    """A browser in which a customer is signed in."""

    __tablename__ = "customer_sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class EmailChange(Base):
    """A change of a customer's address that waits for both addresses to confirm it."""

    __tablename__ = "email_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    # A customer has one at a time.
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), unique=True)
    email: Mapped[str] = mapped_column(String(254))
    locale: Mapped[str] = mapped_column(String(2))
    expires_at: Mapped[datetime]
    left_at: Mapped[datetime | None]
    taken_at: Mapped[datetime | None]


class CustomerLink(Base):
    """A link that was mailed to a customer; it is deleted when it is used."""

    __tablename__ = "customer_links"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    email_change_id: Mapped[int | None] = mapped_column(ForeignKey("email_changes.id"), index=True)
    purpose: Mapped[LinkPurpose] = mapped_column(EnumText(LinkPurpose, 16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime]
