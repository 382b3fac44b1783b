"""The links in mails to customers: random, for one purpose, for a short time, and for once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select
from sqlalchemy.orm import Session

from tmt.core.errors import DomainError
from tmt.core.ids import is_token, new_token
from tmt.customers.models import CustomerLink, LinkPurpose


class LinkEnded(DomainError):
    """The link was used, is too old, or never existed: which of them, nobody learns."""


def add_link(
    session: Session,
    customer_id: int,
    purpose: LinkPurpose,
    expires_at: datetime,
    email_change_id: int | None = None,
) -> str:
    """The token of a new link.

    A mail that is sent again has another one, and both work: nobody knows which mail arrived.
    """
    token = new_token()
    link = CustomerLink(
        customer_id=customer_id,
        email_change_id=email_change_id,
        purpose=purpose,
        token_hash=hashed(token),
        expires_at=expires_at,
    )
    session.add(link)
    return token


def find_link(
    session: Session, token: str, purposes: Collection[LinkPurpose], now: datetime
) -> CustomerLink:
    """The link with this token, which can still be used; raises `LinkEnded`."""
    if is_token(token):
        query = select(CustomerLink).where(
            CustomerLink.token_hash == hashed(token),
            CustomerLink.purpose.in_(purposes),
            CustomerLink.expires_at > now,
        )
        if link := session.scalar(query):
            return link
    raise LinkEnded("no link of this token")


def use_link(
    session: Session, token: str, purposes: Collection[LinkPurpose], now: datetime
) -> CustomerLink:
    """The same, and nobody can use it any more; raises `LinkEnded`."""
    link = find_link(session, token, purposes, now)
    # Of two who use it at once, the row count tells the second.
    statement = delete(CustomerLink).where(CustomerLink.id == link.id)
    if cast("CursorResult[Any]", session.execute(statement)).rowcount != 1:
        raise LinkEnded("somebody was faster")
    return link


def hashed(token: str) -> str:
    """What is stored of a token. It is random and long, so that a plain hash cannot be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()
