"""What stands in front of the shop: it asks itself through its public address, and looks.

The doctor sends a request that is signed with SECRET_KEY to its own `/healthz`, forges what a
stranger could forge, sends the body slowly, and gets back how the request arrived.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from itsdangerous import BadSignature, TimestampSigner

from tmt.config import Settings
from tmt.core.addresses import host_name
from tmt.operations.doctor import Finding, green, red, yellow

PROBE_HEADER = "TMT-Probe"
_SIGNED_TEXT = "arrival"
_MAX_AGE = 60
_TIMEOUT = 15.0
# No client has this address: it is reserved for documentation.
_FORGED_CLIENT = "192.0.2.77"
_PAUSE = 1.0
_BODY = b"x" * 2048


def is_signed(settings: Settings, signature: str) -> bool:
    """Whether a request to `/healthz` comes from a doctor of this shop, just now."""
    try:
        return _signer(settings).unsign(signature, max_age=_MAX_AGE) == _SIGNED_TEXT.encode()
    except BadSignature:
        return False


def check_public_address(settings: Settings) -> Finding:
    """What the public address makes of a request; for the doctor."""
    try:
        status, text = _ask(settings)
    except ssl.SSLCertVerificationError as error:
        return red(
            f"the certificate of {settings.base_url} is not valid: {error.verify_message}",
            "Renew or replace it: neither browsers nor Stripe's webhooks accept it.",
        )
    except (OSError, http.client.HTTPException) as error:
        return yellow(
            f"{settings.base_url} cannot be reached from here ({type(error).__name__})",
            "If it opens elsewhere, run this where it does; else start the shop and its proxy.",
        )
    if status == 400:
        return red(
            f"{settings.base_url} answers 400: what stands in front passes on another host",
            "Have it pass on the Host header; in nginx: proxy_set_header Host $host;",
        )
    try:
        arrival = json.loads(text)["arrival"]
    except (ValueError, KeyError, TypeError):
        return red(
            f"{settings.base_url} answers {status}, and not as this shop does",
            "Is it another server's address, or has the server another SECRET_KEY?",
        )
    return _judge(settings, arrival)


def _judge(settings: Settings, arrival: Mapping[str, Any]) -> Finding:
    trusted = settings.trusted_proxies
    clients = [client for client in arrival["forwarded_for"].replace(",", " ").split() if client]
    # A proxy that adds to the list leaves the forged client in it, one that replaces it does not.
    proxies = len(clients) - (_FORGED_CLIENT in clients)
    if arrival["client"] == _FORGED_CLIENT:
        return red(
            "X-Forwarded-For is believed as a client sends it: no limit holds anybody",
            "Have the proxy replace it (nginx: proxy_set_header X-Forwarded-For $remote_addr;), and"
            f" set TMT_TRUSTED_PROXIES to the number of proxies, which seems to be {proxies}.",
        )
    is_forwarded = proxies or [name for name in arrival["headers"] if name != "X-Forwarded-For"]
    if not trusted and (is_forwarded or settings.base_url.startswith("https://")):
        return yellow(
            "none is trusted, although one passes requests on: all buyers share one limit",
            f"Set TMT_TRUSTED_PROXIES to their number, which seems to be {max(1, proxies)}.",
        )
    if proxies != trusted:
        return yellow(
            f"{proxies} proxies name the client, and TMT_TRUSTED_PROXIES is {trusted}",
            "Have each add or replace X-Forwarded-For, and set TMT_TRUSTED_PROXIES to their number:"
            " otherwise buyers share one limit.",
        )
    parts = urlsplit(settings.base_url)
    if arrival["scheme"] != parts.scheme:
        return yellow(
            f"requests arrive as {arrival['scheme']}, not as {parts.scheme}",
            "Have the proxy set X-Forwarded-Proto; in nginx: proxy_set_header"
            " X-Forwarded-Proto $scheme;",
        )
    if host_name(arrival["host"]) != host_name(parts.netloc):
        return yellow(
            f"requests arrive for {arrival['host']}, not for {parts.netloc}",
            "Have the proxy pass on the Host header; in nginx: proxy_set_header Host $host;",
        )
    if arrival["seconds"] > _PAUSE / 2:
        return yellow(
            "slow clients reach the server's threads: a few of them stop the shop",
            "Start gunicorn with --worker-class tmt.buffering_worker.BufferingWorker, or have the"
            " proxy buffer requests.",
        )
    return green(f"requests to {settings.base_url} arrive as sent, through {trusted} proxies")


def _ask(settings: Settings) -> tuple[int, bytes]:
    """The response to the probe. Raises `OSError`, `http.client.HTTPException`."""
    parts = urlsplit(settings.base_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(str(parts.hostname), parts.port, timeout=_TIMEOUT)
    try:
        connection.putrequest("POST", f"{parts.path}/healthz")
        connection.putheader(PROBE_HEADER, _signer(settings).sign(_SIGNED_TEXT).decode())
        connection.putheader("X-Forwarded-For", _FORGED_CLIENT)
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(len(_BODY)))
        connection.endheaders(_BODY[:1024])
        time.sleep(_PAUSE)
        connection.send(_BODY[1024:])
        response = connection.getresponse()
        return response.status, response.read(64 * 1024)
    finally:
        connection.close()


def _signer(settings: Settings) -> TimestampSigner:
    return TimestampSigner(settings.secret_key, salt="tmt-doctor")
