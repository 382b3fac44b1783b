"""The API's methods, timers and listeners: each function registers itself with a decorator.

A new family of objects needs its functions with `@route` in a module that api.py imports, its
`GET`s above `retrieve` and `list_objects` in resources.py, its objects in data/defaults.yaml, and
the tables of its parameters and fields: `python -m tests.sandbox.generate_tables`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

Handler = Callable[..., dict[str, Any]]
TimerAction = Callable[..., object]
Listener = Callable[..., object]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Route:
    """A method of the API, such as `POST /v1/refunds/<id>`, and the function that answers it.

    A browser may call it with the publishable key where `publishable` says so.
    """

    rule: str
    handler: Handler
    publishable: bool


ROUTES: dict[str, Route] = {}
FIELDS_ON_REQUEST: dict[str, Callable[..., Any]] = {}
TIMER_ACTIONS: dict[str, TimerAction] = {}
LISTENERS: dict[str, list[Listener]] = {}


def route(
    rule: str, *, publishable: bool = False, **arguments: Any
) -> Callable[[_Function], _Function]:
    """Register a function for `rule`, whose parameters are those of data/parameters.yaml.

    It is called with a RequestContext, the parameters, the parts of the URL by name, and
    `arguments`; it returns the JSON of the answer or raises ApiError.
    """

    def register(function: _Function) -> _Function:
        if rule in ROUTES:
            raise ValueError(f"{rule} is registered twice")
        ROUTES[rule] = Route(rule, partial(function, **arguments), publishable)
        return function

    return register


def field_on_request(path: str) -> Callable[[_Function], _Function]:
    """Register what `expand` puts into a field that is absent or an id, such as `charge.refunds`.

    It is called with a RequestContext and the visible object; None leaves the field as it is.
    """

    def register(function: _Function) -> _Function:
        if path in FIELDS_ON_REQUEST:
            raise ValueError(f"{path} is registered twice")
        FIELDS_ON_REQUEST[path] = function
        return function

    return register


def timer_action(name: str) -> Callable[[_Function], _Function]:
    """Register a function for `RequestContext.schedule`; the store keeps its name.

    It is called with a RequestContext, the id that was scheduled, and the argument if there is one.
    """

    def register(function: _Function) -> _Function:
        if name in TIMER_ACTIONS:
            raise ValueError(f"{name} is registered twice")
        TIMER_ACTIONS[name] = function
        return function

    return register


def on_event(*event_types: str) -> Callable[[_Function], _Function]:
    """Register a function that is called when an event of these types has been recorded.

    It is called with the RequestContext and the object, in the transaction of what caused the
    event: an invoice follows its PaymentIntent so, and a subscription its invoice.
    """

    def register(function: _Function) -> _Function:
        for event_type in event_types:
            LISTENERS.setdefault(event_type, []).append(function)
        return function

    return register
