"""`python -m tests.chaos [--minutes N] [--database sqlite|postgresql] [--seed S]`

A shop of several processes, buyers of all kinds, a Stripe that fails in every way, kills at
random; then everything that is due is done, and nothing may be lost, sold twice or disclosed.
Prints what happened, and how often each situation came about that every run must go through. The
exit code is 1 when a promise was broken, and 2 when one of these situations is missing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.plan import make_plan
from tests.chaos.runner import Verdict, run

_SHOWN_BREACHES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it and prints its verdict; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="how long the trouble lasts")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, help="the same seed draws the same plan")
    parser.add_argument(
        "--only", nargs="+", metavar="WORDS", default=(), help="nothing but these situations"
    )
    parser.add_argument("--keep", action="store_true", help="keep the files when all is well, too")
    options = parser.parse_args(arguments)
    seed = time.time_ns() % 1_000_000 if options.seed is None else options.seed
    seconds = options.minutes * 60
    digest = make_plan(seed, seconds).digest
    print(f"chaos: {options.database}, seed {seed} (plan {digest}), {options.minutes} minutes")
    folder = Path(tempfile.mkdtemp(prefix="tmt-chaos-"))
    # PostgreSQL refuses to run as root and must get into the folder as somebody else.
    folder.chmod(0o755)
    with warnings.catch_warnings():
        # The test database's library warns of a desktop's folder that a server has not.
        warnings.simplefilter("ignore")
        verdict = run(seed, seconds, options.database, folder, options.only)
    print(report(verdict))
    if verdict.breaches or verdict.missing or options.keep:
        print(f"Logs, database and Stripe's store are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if verdict.breaches else 2 if verdict.missing else 0


def report(verdict: Verdict) -> str:
    """The counts, one a line, the situations, those that are missing, and the breaches."""
    counts = dict(sorted(verdict.counts.items())) | {"breaches": len(verdict.breaches)}
    reached = {f"  {name}": number for name, number in verdict.reached.items()}
    shown = counts | {"situations that came about": sum(reached.values())} | reached
    width = max(map(len, shown))
    lines = [f"  {name:<{width}} {number:>7}" for name, number in shown.items()]
    lines += [f"The run is worth nothing: no {name} came about." for name in verdict.missing]
    lines += verdict.breaches[:_SHOWN_BREACHES]
    hidden = len(verdict.breaches) - _SHOWN_BREACHES
    return "\n".join([*lines, f"and {hidden} more"] if hidden > 0 else lines)


if __name__ == "__main__":
    sys.exit(main())
