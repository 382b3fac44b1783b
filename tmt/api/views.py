"""The three JSON endpoints for other programs, described in docs/http-api.md.

Paths, envelopes and messages are public and exact. Nothing that a caller sends is trusted: the
PaymentIntent is read from Stripe, and its order is the one that it is stored for.
"""

from __future__ import annotations

from decimal import Decimal
from secrets import compare_digest
from typing import Any

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_cors import CORS
from werkzeug.exceptions import Forbidden, Unauthorized

from tmt import web
from tmt.api.charges import without_payer
from tmt.api.idempotency_keys import first_used_at, gateway_key
from tmt.api.schemas import BadRequest, read_create, read_data, read_payment_intent_id
from tmt.checkout.states import Trigger
from tmt.core.money import UnknownCurrency, to_major
from tmt.gateway.errors import AuthenticationFailed, GatewayError
from tmt.gateway.types import PaymentIntent, PaymentIntentStatus
from tmt.payments.card_testing import limit_declines
from tmt.payments.sync import sync_from_stripe
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
    401: "No autorizado",
    403: "Origen no permitido",
    404: "No encontrado",
    405: "Método no permitido",
    413: "El cuerpo de la petición es demasiado grande",
    429: "Demasiadas peticiones",
    503: "Servicio no disponible, intente de nuevo",
}


def init_app(app: Flask) -> None:
    """Registers the endpoints for the configured origins, with errors in their envelope.

    With `TMT_API=off` there are none, and the envelope says so.
    """
    web.set_error_renderer(app, PATHS, _error)
    with app.app_context():
        settings = web.shop().settings
    origins = list(settings.api_origins)
    if settings.api == "on":
        app.register_blueprint(api)
    CORS(
        app,
        resources={path: {"origins": origins} for path in PATHS},
        methods=["POST"],
        allow_headers=["Content-Type", "Idempotency-Key"],
        expose_headers=["Retry-After"],
        send_wildcard=True,
        vary_header=True,
    )


@api.before_request
def _admit() -> None:
    """Turns away who may not call, before anything of the request is read."""
    settings, origin = web.shop().settings, request.headers.get("Origin")
    if origin is not None and not {origin, "*"} & set(settings.api_origins):
        raise Forbidden
    if request.method == "POST":
        web.limit_client(settings.api_per_address, "api")
        if settings.api_token and not _has_token(settings.api_token):
            raise Unauthorized


def _has_token(token: str) -> bool:
    sent = request.authorization
    if sent is None or sent.type != "bearer":
        return False
    return compare_digest((sent.token or "").encode(), token.encode())


@api.post("/stripe_create_payment_intent")
def create() -> ResponseReturnValue:
    settings = web.shop().settings
    payment = read_create(read_data(web.request_body()), settings.api_floor)
    web.limits().hit(settings.api_creates_overall, "api-creates", "all")
    key = gateway_key(request.headers.get("Idempotency-Key"))
    timestamp = first_used_at(web.shop(), key).isoformat()
    intent = gateway().create_payment_intent(
        payment.amount,
        payment.currency,
        description=payment.description,
        metadata={**payment.metadata, "platform": "TMT", "timestamp": timestamp},
        idempotency_key=key,
    )
    limit_declines(web.shop(), intent.id)
    return _success({"client_secret": intent.client_secret, "payment_intent_id": intent.id})


@api.post("/stripe_confirm_payment")
def confirm() -> ResponseReturnValue:
    payment_intent_id = read_payment_intent_id(read_data(web.request_body()))
    settings = web.shop().settings
    web.limit_client(settings.confirms_per_address, "confirms-address")
    web.limits().hit(settings.confirms_per_order, "confirms-order", payment_intent_id)
    intent, _ = sync_from_stripe(web.shop(), gateway(), payment_intent_id, Trigger.API)
    charges = gateway().list_charges(intent.id)
    fields = _intent_fields(intent) | {
        "created": intent.created,
        "payment_method": intent.payment_method,
        "charges": charges if settings.api_token else without_payer(charges),
    }
    if intent.status != PaymentIntentStatus.SUCCEEDED:
        text = f"El pago no fue completado. Estado: {intent.status}"
        return _failure(400, text, {"payment_intent": fields})
    return _success({"payment_intent": fields})


@api.post("/stripe_get_payment_intent")
def get() -> ResponseReturnValue:
    payment_intent_id = read_payment_intent_id(read_data(web.request_body()))
    intent = gateway().retrieve_payment_intent(payment_intent_id)
    fields = _intent_fields(intent) | {"metadata": dict(intent.metadata)}
    return _success({"payment_intent": fields})


def _intent_fields(intent: PaymentIntent) -> dict[str, Any]:
    try:
        amount = to_major(intent.amount, intent.currency)
    except UnknownCurrency:
        # Another system's PaymentIntent, in a currency that the shop does not sell in: like nearly
        # all currencies, it has two decimals.
        amount = Decimal(intent.amount).scaleb(-2)
    is_whole = amount == amount.to_integral_value()
    return {
        "id": intent.id,
        "status": intent.status,
        "amount": int(amount) if is_whole else float(amount),
        "currency": intent.currency,
    }


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


def _error(status: int, error: Exception, _retry_after: int | None) -> ResponseReturnValue:
    """The error in the endpoints' envelope."""
    if isinstance(error, BadRequest):
        return _failure(400, str(error))
    if isinstance(error, AuthenticationFailed):
        # Stripe's message quotes a part of the shop's key.
        return _failure(500, _UNREACHABLE)
    if isinstance(error, GatewayError):
        return _failure(500, error.user_message or _UNREACHABLE)
    return _failure(status, _TEXTS.get(status, "Error interno"))
