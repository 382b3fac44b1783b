"""The three JSON endpoints that other programs speak: docs/http-api.md says which.

Paths, envelopes and messages are public and exact. Nothing that a caller says decides anything:
the PaymentIntent is read from Stripe, and an order is found by the id that is stored on it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_cors import CORS

from tmt import web
from tmt.api.idempotency_keys import first_used_at, gateway_key
from tmt.api.schemas import (
    BadRequest,
    CreateRequest,
    read_create,
    read_data,
    read_payment_intent_id,
)
from tmt.checkout.states import Trigger
from tmt.core.money import UnknownCurrency, to_major
from tmt.gateway.errors import GatewayError
from tmt.gateway.types import PaymentIntent, PaymentIntentStatus
from tmt.payments.sync import sync_payment_intent
from tmt.web import gateway

api = Blueprint("api", __name__)
web.csrf.exempt(api)

PATHS = (
    "/stripe_create_payment_intent",
    "/stripe_confirm_payment",
    "/stripe_get_payment_intent",
)
_UNREACHABLE = "No se pudo contactar con Stripe"
_TEXTS = {
    404: "No encontrado",
    405: "Método no permitido",
    413: "El cuerpo de la petición es demasiado grande",
    429: "Demasiadas peticiones",
    503: "Servicio no disponible, intente de nuevo",
}


def init_app(app: Flask) -> None:
    """Registers the endpoints, open to other origins, their errors in the envelope."""
    app.register_blueprint(api)
    web.answer_errors_with(app, PATHS, _error)
    CORS(
        app,
        resources={path: {"origins": list(web_origins(app))} for path in PATHS},
        methods=["POST"],
        allow_headers=["Content-Type", "Idempotency-Key"],
        expose_headers=["Retry-After"],
        send_wildcard=True,
        vary_header=True,
    )


def web_origins(app: Flask) -> tuple[str, ...]:
    """The origins whose pages may call the endpoints."""
    with app.app_context():
        return web.shop().settings.api_origins


@api.before_request
def _limit() -> None:
    if request.method == "POST":
        web.limits().hit(web.shop().settings.api_per_address, "api", web.client_address())


@api.post("/stripe_create_payment_intent")
def create() -> ResponseReturnValue:
    wanted = read_create(read_data(request.get_data()))
    shop = web.shop()
    key = gateway_key(request.headers.get("Idempotency-Key"))
    made = gateway().create_payment_intent(
        wanted.amount,
        wanted.currency,
        description=wanted.description,
        metadata=_metadata(wanted, first_used_at(shop, key)),
        idempotency_key=key,
    )
    return _success({"client_secret": made.client_secret, "payment_intent_id": made.id})


@api.post("/stripe_confirm_payment")
def confirm() -> ResponseReturnValue:
    payment_intent = _asked_for()
    settings, hit = web.shop().settings, web.limits().hit
    hit(settings.confirms_per_address, "confirms-address", web.client_address())
    hit(settings.confirms_per_order, "confirms-order", payment_intent)
    intent = gateway().retrieve_payment_intent(payment_intent)
    sync_payment_intent(web.shop(), intent, Trigger.API)
    told = _told(intent) | {
        "created": intent.created,
        "payment_method": intent.payment_method,
        "charges": gateway().list_charges(intent.id),
    }
    if intent.status != PaymentIntentStatus.SUCCEEDED:
        text = f"El pago no fue completado. Estado: {intent.status}"
        return _failure(400, text, {"payment_intent": told})
    return _success({"payment_intent": told})


@api.post("/stripe_get_payment_intent")
def get() -> ResponseReturnValue:
    intent = gateway().retrieve_payment_intent(_asked_for())
    return _success({"payment_intent": _told(intent) | {"metadata": dict(intent.metadata)}})


def _asked_for() -> str:
    """The id of the PaymentIntent that the request names."""
    return read_payment_intent_id(read_data(request.get_data()))


def _metadata(wanted: CreateRequest, moment: datetime) -> dict[str, str]:
    return {**wanted.metadata, "platform": "TMT", "timestamp": moment.isoformat()}


def _told(intent: PaymentIntent) -> dict[str, Any]:
    major = _major(intent)
    whole = major == major.to_integral_value()
    return {
        "id": intent.id,
        "status": intent.status,
        "amount": int(major) if whole else float(major),
        "currency": intent.currency,
    }


def _major(intent: PaymentIntent) -> Decimal:
    try:
        return to_major(intent.amount, intent.currency)
    except UnknownCurrency:
        # Another system's PaymentIntent, in a currency that the shop does not sell in: as nearly
        # all of them, it has two decimals.
        return Decimal(intent.amount).scaleb(-2)


def _success(data: dict[str, Any]) -> ResponseReturnValue:
    return jsonify(message="Procesado", status=200, data={"success": True, **data})


def _failure(status: int, text: str, data: dict[str, Any] | None = None) -> ResponseReturnValue:
    body = {
        "message": "Error",
        "status": status,
        "error": text,
        "data": {"success": False, **(data or {})},
    }
    return jsonify(body), status


def _error(status: int, error: Exception, _wait: int | None) -> ResponseReturnValue:
    """An error of these paths in their envelope."""
    if isinstance(error, BadRequest):
        return _failure(400, str(error))
    if isinstance(error, GatewayError):
        return _failure(500, error.user_message or _UNREACHABLE)
    return _failure(status, _TEXTS.get(status, "Error interno"))
