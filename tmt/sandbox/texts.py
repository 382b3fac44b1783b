"""The words of the sandbox's pages for buyers, by language."""

from __future__ import annotations

ENGLISH = {
    "card": "Card",
    "number": "Card number",
    "expiry": "Expiration date",
    "expiry_hint": "MM / YY",
    "cvc": "Security code",
    "country": "Country",
    "postal": "ZIP code",
    "test": "Test mode: no real card is charged.",
    "incomplete_number": "Your card number is incomplete.",
    "invalid_number": "Your card number is invalid.",
    "incomplete_expiry": "Your card's expiration date is incomplete.",
    "invalid_expiry_month": "Your card's expiration month is invalid.",
    "invalid_expiry_year_past": "Your card's expiration date is in the past.",
    "incomplete_cvc": "Your card's security code is incomplete.",
    "incomplete_zip": "Your ZIP code is incomplete.",
    "challenge": "Confirm your payment",
    "challenge_why": "Your bank wants to know that it is you. This is a test: choose how it ends.",
    "challenge_over": "This authentication is over. You can close this page.",
    "complete": "Complete",
    "fail": "Fail",
}
SPANISH = {
    "card": "Tarjeta",
    "number": "Número de tarjeta",
    "expiry": "Fecha de caducidad",
    "expiry_hint": "MM / AA",
    "cvc": "Código de seguridad",
    "country": "País",
    "postal": "Código postal",
    "test": "Modo de prueba: no se cobra ninguna tarjeta real.",
    "incomplete_number": "El número de tu tarjeta está incompleto.",
    "invalid_number": "El número de tu tarjeta no es válido.",
    "incomplete_expiry": "La fecha de caducidad de tu tarjeta está incompleta.",
    "invalid_expiry_month": "El mes de caducidad de tu tarjeta no es válido.",
    "invalid_expiry_year_past": "La fecha de caducidad de tu tarjeta ya ha pasado.",
    "incomplete_cvc": "El código de seguridad de tu tarjeta está incompleto.",
    "incomplete_zip": "Tu código postal está incompleto.",
    "challenge": "Confirma tu pago",
    "challenge_why": "Tu banco quiere saber que eres tú. Es una prueba: elige cómo termina.",
    "challenge_over": "Esta autenticación ha terminado. Puedes cerrar esta página.",
    "complete": "Completar",
    "fail": "Rechazar",
}
TEXTS = {"en": ENGLISH, "es": SPANISH}
