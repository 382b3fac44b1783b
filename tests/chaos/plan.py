"""What happens in a run, drawn from its seed: the buyers' visits and all that goes wrong.

The same seed draws the same plan; when its parts meet is up to the machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

# Kinds of visits and how many of a hundred are of each; buyers.py has their steps.
SCENARIOS = {
    "pays": 26,
    "closes_the_browser": 7,
    "is_declined_once": 6,
    "is_declined": 4,
    "passes_3d_secure": 6,
    "fails_3d_secure": 3,
    "abandons_3d_secure": 4,
    "double_clicks": 7,
    "cancels": 5,
    "cancels_while_paying": 3,
    "comes_back": 5,
    "pays_late": 5,
    "looks_only": 3,
    "pays_by_debit": 8,
    "pays_at_a_bank": 4,
    "takes_a_free_ticket": 4,
}
EVENTS = ("gran-gala", "sala-llena", "puertas-abiertas")
GRAND, FULL, OPEN = EVENTS

GOOD_CARDS = ("4242424242424242",) * 6 + (
    "4000000000000259",  # is disputed
    "4000000000001976",  # the bank asks
    "4000000000007726",  # its refunds are pending for days
    "4000000000005126",  # its refunds fail
)
DECLINED_CARDS = ("4000000000000002", "4000000000009995", "4000000000000069")
ASKING_CARDS = ("4000002760003184", "4000000000003220")
# Debits: settled, settled late, refused, settled and then disputed, refused at once.
IBANS = (
    "DE89370400440532013000",
    "DE08370400440532013003",
    "DE62370400440532013001",
    "DE35370400440532013002",
    "DE27370400440000121212",
)

_CALLS = (
    "*",
    "POST /v1/payment_intents",
    "GET /v1/payment_intents/*",
    "POST /v1/payment_intents/*/cancel",
    "POST /v1/payment_intents/*/confirm",
    "POST /v1/refunds",
    "GET /v1/refunds*",
    "GET /v1/disputes*",
    "GET /v1/events",
)
_BAD_CALLS = ("429", "500", "502", "hang", "reset", "lose_answer", "early_webhooks")
_BAD_WEBHOOKS = (
    "drop",
    "double",
    "reorder",
    "delay",
    "wrong_signature",
    "clock_skew",
    "odd_json",
    "api_version",
)


@dataclass(frozen=True)
class Visit:
    """Somebody comes to buy: places by ticket type, in their order; `pause` in seconds."""

    scenario: str
    event: str
    places: tuple[int, ...]
    card: str
    declined: str
    asking: str
    iban: str
    address: str
    pause: float


@dataclass(frozen=True)
class Fault:
    """An order to the sandbox; `times` calls or deliveries suffer it."""

    at: float
    kind: str
    match: str
    times: int
    share: float
    seconds: float


@dataclass(frozen=True)
class Step:
    """What somebody other than a buyer does: `what`; to `which` and how much (both 0 to 1)."""

    at: float
    what: str
    which: float
    size: float


@dataclass(frozen=True)
class Plan:
    """Everything but the buyers, in the order of time (seconds since the beginning)."""

    faults: Sequence[Fault]
    kills: Sequence[Step]
    moves: Sequence[Step]
    deeds: Sequence[Step]

    @property
    def digest(self) -> str:
        """A short word that is the same for the same plan."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]


def make_plan(seed: int, seconds: float) -> Plan:
    """The plan of this seed for so many seconds."""
    random = Random(f"{seed}-faults")
    faults = [_fault(random, at) for at in _moments(random, seconds, 1.5, 5.0)]
    kills = _steps(Random(f"{seed}-kills"), seconds, (4.0, 9.0), KILLS)
    moves = _steps(Random(f"{seed}-moves"), seconds, (6.0, 12.0), MOVES)
    deeds = _steps(Random(f"{seed}-deeds"), seconds, (1.0, 4.0), DEEDS)
    return Plan(_standing_faults() + faults, kills, moves, deeds)


# Who is killed: one of the web server's workers, one of the job processes, all of the shop.
KILLS = {"worker": 5, "jobs": 4, "shop": 1}
# How far the clocks move on; a hold takes fifteen minutes.
MOVES = {"2m": 4, "16m": 4, "2h": 2, "13h": 1, "1d": 1}
# What the organiser does, here and in Stripe's dashboard.
DEEDS = {
    "refund_all": 3,
    "refund_amount": 3,
    "refund_tickets": 3,
    "refund_in_dashboard": 3,
    "dispute": 2,
    "decide_dispute": 3,
    "ask_again": 3,
}


def visits(seed: int, buyer: int) -> Iterator[Visit]:
    """The visits of a buyer, one after the other, without end."""
    random = Random(f"{seed}-buyer-{buyer}")
    while True:
        yield _visit(random)


def _visit(random: Random) -> Visit:
    (scenario,) = random.choices(list(SCENARIOS), list(SCENARIOS.values()))
    event = OPEN if scenario == "takes_a_free_ticket" else random.choice((GRAND, GRAND, FULL))
    places = (random.randint(1, 3), random.choice((0, 0, 1, 2)))
    return Visit(
        scenario=scenario,
        event=event,
        places=places,
        card=random.choice(GOOD_CARDS),
        declined=random.choice(DECLINED_CARDS),
        asking=random.choice(ASKING_CARDS),
        iban=random.choice(IBANS),
        address=f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}",
        pause=random.uniform(0.0, 1.0),
    )


def _standing_faults() -> list[Fault]:
    """A little of it all the time."""
    often = 1_000_000
    shares = {"drop": 0.08, "double": 0.08, "reorder": 0.1, "odd_json": 0.1}
    standing = [Fault(0.0, kind, "*", often, share, 0.0) for kind, share in shares.items()]
    calls = {"500": 0.02, "lose_answer": 0.02, "early_webhooks": 0.05}
    return standing + [Fault(0.0, kind, "*", often, share, 0.0) for kind, share in calls.items()]


def _fault(random: Random, at: float) -> Fault:
    if random.random() < 0.6:
        kind, match = random.choice(_BAD_CALLS), random.choice(_CALLS)
        seconds = random.choice((1.0, 3.0, 6.0)) if kind == "hang" else 0.0
        return Fault(at, kind, match, random.randint(1, 6), 1.0, seconds)
    kind = random.choice(_BAD_WEBHOOKS)
    match = random.choice(("*", "payment_intent.*", "payment_intent.succeeded", "refund.*"))
    waits = {"delay": random.choice((30.0, 900.0, 90_000.0)), "clock_skew": -900.0}
    return Fault(at, kind, match, random.randint(1, 12), 1.0, waits.get(kind, 0.0))


def _steps(
    random: Random, seconds: float, gap: tuple[float, float], kinds: dict[str, int]
) -> list[Step]:
    names, weights = list(kinds), list(kinds.values())
    return [
        Step(at, random.choices(names, weights)[0], random.random(), random.random())
        for at in _moments(random, seconds, *gap)
    ]


def _moments(random: Random, seconds: float, least: float, most: float) -> Iterator[float]:
    at = random.uniform(least, most)
    while at < seconds:
        yield at
        at += random.uniform(least, most)
