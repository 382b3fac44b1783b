"""Stripe's test cards as data: which number or token does what.

Source: https://docs.stripe.com/testing. A card's behaviour is a row of `CARDS`; the code that
acts on it is in intents.py and refunds.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tmt.sandbox.errors import ApiError
from tmt.sandbox.shape import Json


@dataclass(frozen=True)
class Card:
    """One test card.

    `code` and `decline_code` are those of the refusal (None: it pays). `three_d_secure` is one of
    none, optional, required, frictionless, lookup_fails. `off_session` says that a payment
    without the buyer needs no authentication. `refund` is what becomes of a refund, `later` what
    happens to a paid charge afterwards.
    """

    number: str
    tokens: tuple[str, ...] = ()
    code: str | None = None
    decline_code: str | None = None
    three_d_secure: str = "none"
    off_session: bool = False
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    cvc_check: str = "pass"
    zip_check: str = "pass"
    risk: str = "normal"
    refund: str = "succeeded"
    later: str | None = None

    @property
    def key(self) -> str:
        """What is stored in place of a number."""
        return self.tokens[0] if self.tokens else f"test_{self.number[-4:]}"


def _declined(
    number: str, token: str, decline: str, three_d_secure: str = "none", risk: str = "normal"
) -> Card:
    return Card(number, (token,), "card_declined", decline, three_d_secure, risk=risk)


_VISA = "pm_card_visa_chargeDeclined"
_AUTH = "pm_card_authenticationRequired"
_3DS = "pm_card_threeDSecure"
CARDS = (
    Card("4242424242424242", ("pm_card_visa", "pm_card_us")),
    Card("4000056655665556", ("pm_card_visa_debit",), funding="debit"),
    Card("5555555555554444", ("pm_card_mastercard",), brand="mastercard"),
    Card("5200828282828210", ("pm_card_mastercard_debit",), brand="mastercard", funding="debit"),
    Card(
        "378282246310005", ("pm_card_amex", "pm_card_amex_threeDSecureNotSupported"), brand="amex"
    ),
    Card("6011111111111117", ("pm_card_discover",), brand="discover"),
    Card("3056930009020004", ("pm_card_diners",), brand="diners"),
    Card("3566002020360505", ("pm_card_jcb",), brand="jcb", country="JP"),
    Card("6200000000000005", ("pm_card_unionpay",), brand="unionpay", country="CN"),
    Card("4000007240000007", ("pm_card_es",), country="ES"),
    Card("4000004840008001", ("pm_card_mx",), country="MX"),
    _declined("4000000000000002", _VISA, "generic_decline"),
    _declined("4000000000009995", _VISA + "InsufficientFunds", "insufficient_funds"),
    _declined("4000000000009987", _VISA + "LostCard", "lost_card"),
    _declined("4000000000009979", _VISA + "StolenCard", "stolen_card"),
    _declined("4000000000006975", _VISA + "VelocityLimitExceeded", "card_velocity_exceeded"),
    Card("4000000000000069", ("pm_card_chargeDeclinedExpiredCard",), "expired_card"),
    Card(
        "4000000000000127",
        ("pm_card_chargeDeclinedIncorrectCvc",),
        "incorrect_cvc",
        cvc_check="fail",
    ),
    Card("4000000000000119", ("pm_card_chargeDeclinedProcessingError",), "processing_error"),
    _declined("4000000000000341", "pm_card_chargeCustomerFail", "generic_decline"),
    Card("4000002500003155", (_AUTH + "OnSetup",), three_d_secure="required"),
    Card("4000002760003184", (_AUTH,), three_d_secure="required"),
    Card(
        "4000003800000446",
        (_AUTH + "SetupForOffSession",),
        three_d_secure="required",
        off_session=True,
    ),
    _declined(
        "4000008260003178",
        _AUTH + "ChargeDeclinedInsufficientFunds",
        "insufficient_funds",
        three_d_secure="required",
    ),
    Card("4000000000003220", (_3DS + "2Required",), three_d_secure="required"),
    Card("4000008400000027", three_d_secure="required"),
    _declined(
        "4000008400001629",
        _3DS + "RequiredChargeDeclined",
        "generic_decline",
        three_d_secure="required",
    ),
    _declined(
        "4000008400001280",
        _3DS + "RequiredProcessingError",
        "generic_decline",
        three_d_secure="lookup_fails",
    ),
    Card("4000000000003055", (_3DS + "Optional",), three_d_secure="optional"),
    Card("4000000000003097", (_3DS + "OptionalProcessingError",), three_d_secure="lookup_fails"),
    Card("4000000032200000", three_d_secure="frictionless"),
    _declined("4100000000000019", "pm_card_radarBlock", "fraudulent", risk="highest"),
    _declined("4000000000004954", "pm_card_riskLevelHighest", "fraudulent", risk="highest"),
    Card("4000000000009235", ("pm_card_riskLevelElevated",), risk="elevated"),
    Card("4000000000000101", ("pm_card_cvcCheckFail",), cvc_check="fail"),
    Card("4000000000000036", ("pm_card_avsZipFail",), zip_check="fail"),
    Card("4000000000000259", ("pm_card_createDispute",), later="dispute_fraudulent"),
    Card(
        "4000000000002685",
        ("pm_card_createDisputeProductNotReceived",),
        later="dispute_product_not_received",
    ),
    Card("4000000000001976", ("pm_card_createDisputeInquiry",), later="inquiry"),
    Card("4000000000005423", ("pm_card_createIssuerFraudRecord",), later="early_fraud_warning"),
    Card("4000000000007726", ("pm_card_pendingRefund",), refund="pending"),
    Card("4000000000005126", ("pm_card_refundFail",), refund="fails_later"),
    Card("4000000000000077", ("pm_card_bypassPending",)),
)
BY_TOKEN = {token: card for card in CARDS for token in card.tokens}
BY_NUMBER = {card.number: card for card in CARDS}
BY_KEY = {card.key: card for card in CARDS}

MESSAGES = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "card_velocity_exceeded": "Your card was declined for making repeated attempts too frequently"
    " or exceeding its amount limit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "payment_intent_authentication_failure": "We are unable to authenticate your payment method."
    " Please choose a different payment method and try again.",
}


def refusal_message(code: str, decline_code: str | None) -> str:
    """Stripe's sentence for a refusal."""
    return MESSAGES.get(decline_code or code, MESSAGES["generic_decline"])


def luhn(number: str) -> bool:
    """Whether the check digit of a card number is right."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def typed_in(card: Json) -> Card:
    """The test card behind a number, expiry and CVC typed in a browser.

    Raises ApiError (402, card_error) as Stripe does for one that cannot be a test card.
    """
    number = str(card.get("number", "")).replace(" ", "")
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19 and luhn(number)):
        raise _wrong("Your card number is incorrect.", "incorrect_number", "number")
    today = datetime.now(UTC)
    month, year = card["exp_month"], card["exp_year"] % 100 + 2000
    if not 1 <= month <= 12:
        message = "Your card's expiration month is invalid."
        raise _wrong(message, "invalid_expiry_month", "exp_month")
    if (year, month) < (today.year, today.month):
        raise _wrong("Your card's expiration year is invalid.", "invalid_expiry_year", "exp_year")
    if number not in BY_NUMBER:
        raise _wrong(
            "Your card was declined. Your request was in test mode, but used a non test card. For"
            " a list of valid test cards, visit: https://stripe.com/docs/testing.",
            "card_declined",
            "number",
            decline_code="test_mode_live_card",
        )
    return BY_NUMBER[number]


def _wrong(message: str, code: str, param: str, decline_code: str | None = None) -> ApiError:
    more = {"decline_code": decline_code}
    return ApiError(402, message, type="card_error", code=code, param=param, extra=more)
