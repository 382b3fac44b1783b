"""Which Stripe account a secret key belongs to, as Stripe said when the key was first used.

Rolled keys lead to the same account, and a restart needs no network. A key is stored as its hash.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Session, mapped_column

from tmt.core.database import Base, InsertIfAbsent


class KnownAccount(Base):
    """A key that was used with this database, and its mode and account ("live:acct_1…")."""

    __tablename__ = "stripe_accounts"

    key_fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(String(80))
    recorded_at: Mapped[datetime]


_INSERT = InsertIfAbsent(KnownAccount, "key_fingerprint")


def fingerprint(secret_key: str) -> str:
    """What a key is stored as; the key cannot be computed from it."""
    return hashlib.sha256(f"stripe account of {secret_key}".encode()).hexdigest()


def known_account(session: Session, secret_key: str) -> str | None:
    """The mode and account of this key, if it was used with this database before."""
    row = session.get(KnownAccount, fingerprint(secret_key))
    return row.account if row else None


def remember_account(session: Session, secret_key: str, account: str, now: datetime) -> None:
    """Stores the account of this key; `account` must name one, not its mode alone."""
    values = {
        "key_fingerprint": fingerprint(secret_key),
        "account": account,
        "recorded_at": now,
    }
    _INSERT.run(session, values)
