"""Webhook endpoints: who is told about events, and the secrets that sign what they are told."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tmt.sandbox.call import Call
from tmt.sandbox.errors import problem
from tmt.sandbox.params import apply
from tmt.sandbox.shape import Json, new, token
from tmt.sandbox.store import Store

_MOST = 16
ROLL_SECONDS = 86400


def create(call: Call, p: Json) -> Json:
    """POST /v1/webhook_endpoints; the only answer that shows the signing secret."""
    _check_url(p["url"])
    if len(call.store.select("webhook_endpoint")) >= _MOST:
        raise problem("endpoint_limit", most=_MOST)
    version = p.get("api_version")
    if version and not re.fullmatch(r"20\d\d-\d\d-\d\d(\.[a-z]+)?", version):
        raise problem("api_version", value=version)
    secret = "whsec_" + token(32)
    endpoint = new("webhook_endpoint", call.now, api_version=version, _secrets=[[secret, None]])
    apply(endpoint, p, ("url", "enabled_events", "description"))
    return call.save(endpoint) | {"secret": secret}


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/webhook_endpoints/:id."""
    endpoint = call.fetch("webhook_endpoint", id)
    if "url" in p:
        _check_url(p["url"])
    apply(endpoint, p, ("url", "enabled_events", "description"))
    if "disabled" in p:
        endpoint["status"] = "disabled" if p["disabled"] else "enabled"
        endpoint["_failing_since"] = None
    return call.save(endpoint)


def delete(call: Call, p: Json, id: str) -> Json:
    """DELETE /v1/webhook_endpoints/:id; what was still to be delivered is dropped."""
    call.fetch("webhook_endpoint", id)
    call.store.delete(id)
    call.store.execute("DELETE FROM deliveries WHERE endpoint = ?", (id,))
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


def register(store: Store, now: int, url: str, secret: str) -> None:
    """Have all events sent to `url`, signed with `secret`; known by its URL."""
    known = store.select("webhook_endpoint", url=url)
    endpoint = known[0] if known else new("webhook_endpoint", now, url=url)
    kept = {"status": "enabled", "enabled_events": ["*"], "_failing_since": None}
    store.put(endpoint | kept | {"_secrets": [[secret, None]]})


def roll(call: Call, id: str, seconds: int = ROLL_SECONDS) -> str:
    """A new signing secret; the old one signs too, for so many seconds (at most a day)."""
    endpoint = call.fetch("webhook_endpoint", id)
    until, secret = call.now + min(seconds, ROLL_SECONDS), "whsec_" + token(32)
    old = [[known, min(end or until, until)] for known, end in endpoint["_secrets"]]
    endpoint |= {"_secrets": [[secret, None], *old], "_former": endpoint["_secrets"][0][0]}
    call.save(endpoint)
    return secret


def active_secrets(endpoint: Json, now: float) -> list[str]:
    """The secrets that sign at this time, the newest first."""
    return [secret for secret, end in endpoint["_secrets"] if end is None or end > now]


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise problem("url_invalid")
