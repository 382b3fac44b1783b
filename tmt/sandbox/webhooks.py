"""Webhook endpoints: who is told about events."""

from __future__ import annotations

from urllib.parse import urlsplit

from tmt.sandbox import objects
from tmt.sandbox.call import Call
from tmt.sandbox.errors import ApiError, invalid
from tmt.sandbox.ids import token
from tmt.sandbox.params import merged_metadata
from tmt.sandbox.shape import Json
from tmt.sandbox.store import Store

_MOST = 16


def create(call: Call, p: Json) -> Json:
    """POST /v1/webhook_endpoints; the only answer that shows the signing secret."""
    _check_url(p["url"])
    if len(call.store.select("webhook_endpoint")) >= _MOST:
        raise ApiError(400, f"You have reached the maximum of {_MOST} test webhook endpoints.")
    version = p.get("api_version")
    if version not in (None, objects.API_VERSION):
        message = f"Invalid API version: {version}. Only {objects.API_VERSION} is spoken here."
        raise invalid(message, "api_version")
    secret = "whsec_" + token(32)
    endpoint = objects.webhook_endpoint(
        call.now,
        p["url"],
        p["enabled_events"],
        secret,
        api_version=version,
        description=p.get("description"),
        metadata=merged_metadata({}, p.get("metadata", {})),
    )
    return call.save(endpoint) | {"secret": secret}


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/webhook_endpoints/:id."""
    endpoint = call.fetch("webhook_endpoint", id)
    if "url" in p:
        _check_url(p["url"])
    endpoint |= {name: p[name] for name in ("url", "enabled_events", "description") if name in p}
    if "metadata" in p:
        endpoint["metadata"] = merged_metadata(endpoint["metadata"], p["metadata"])
    if "disabled" in p:
        endpoint["status"] = "disabled" if p["disabled"] else "enabled"
    return call.save(endpoint)


def delete(call: Call, p: Json, id: str) -> Json:
    """DELETE /v1/webhook_endpoints/:id; what was still to be delivered is dropped."""
    endpoint = call.fetch("webhook_endpoint", id)
    call.store.delete(id)
    call.store.execute("DELETE FROM deliveries WHERE endpoint = ?", (id,))
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def register(store: Store, now: int, url: str, secret: str) -> None:
    """Have all events sent to `url`, signed with `secret`; known by its URL."""
    known = (e for e in store.select("webhook_endpoint") if e["url"] == url)
    endpoint = next(known, None) or objects.webhook_endpoint(now, url, ["*"], secret)
    store.put(endpoint | {"status": "enabled", "enabled_events": ["*"], "_secrets": [secret]})


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid("Invalid URL: URL must be an absolute http(s) address.", "url", "url_invalid")
