"""How hard hypothesis tries: the same examples each time, or with the profile `long` many more.

`pytest tests/fuzz tests/model --hypothesis-profile=long` looks where nobody has looked yet.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A test's shop serves all of its examples; what they leave behind is part of the trial.
_SHARED = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.nested_given,
]


def register() -> None:
    """Makes both profiles known and the quick one the default."""
    both = {"deadline": None, "suppress_health_check": _SHARED, "print_blob": False}
    quick = {"derandomize": True, "database": None, "max_examples": 120, "stateful_step_count": 30}
    settings.register_profile("quick", **both, **quick)
    settings.register_profile("long", **both, max_examples=3000, stateful_step_count=80)
    settings.load_profile("quick")
