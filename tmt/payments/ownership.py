"""Which PaymentIntents at Stripe this shop created, by their metadata.

Metadata never pays for an order: that takes the id that is stored on its payment. It shows what an
earlier try of a call created, and money at Stripe that the database does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tmt.gateway.parsing import ORDER_CODE
from tmt.gateway.types import PaymentIntent
from tmt.payments.models import Payment, ShopIdentity

SHOP, _PAYMENT = "tmt_shop", "tmt_payment"
# What earlier versions wrote. A PaymentIntent of the JSON endpoints has a "timestamp" besides.
_OLD_KEYS = {"platform", "order", "payment"}
_MAX_DIGITS = 18


@dataclass(frozen=True)
class Claim:
    """What a PaymentIntent's metadata says of the order that it was created for.

    `shop_id` is None in those of earlier versions; `payment_id` is 0 when they name none.
    """

    shop_id: str | None
    order_code: str
    payment_id: int


def get_identity(session: Session) -> ShopIdentity:
    """The shop's identity, which the migrations created."""
    return session.scalars(select(ShopIdentity)).one()


def metadata_for(shop_id: str, order_code: str, payment: Payment) -> dict[str, str]:
    """The metadata of the PaymentIntent that is created for the payment."""
    return {
        "platform": "TMT",
        SHOP: shop_id,
        ORDER_CODE: order_code,
        _PAYMENT: str(payment.id),
    }


def claim_of(intent: PaymentIntent) -> Claim | None:
    """The claim in its metadata; None when it was not created for an order of a shop like this."""
    metadata = intent.metadata
    if metadata.get("platform") != "TMT":
        return None
    shop_id = metadata.get(SHOP)
    if shop_id is not None:
        code, number = metadata.get(ORDER_CODE, ""), metadata.get(_PAYMENT, "")
    elif metadata.keys() == _OLD_KEYS:
        code, number = metadata["order"], metadata["payment"]
    else:
        return None
    is_number = number.isdecimal() and len(number) <= _MAX_DIGITS
    return Claim(shop_id, code, int(number) if is_number else 0)
