"""`python -m tests.writers [--seconds 60] [--p99 60] [--database SQLite]`: fifty writers at once.

Checkout over HTTP, signed webhooks, the JSON endpoint, mails, the end of holds, and an import of
the catalogue, by several processes. Prints how long the answers took. Ends with 1 when anything
answered with an error, when a database was locked, or when something that was confirmed is lost.
"""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks.bench_env import DATABASES, open_env
from tests.writers.runner import run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.writers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they write")
    parser.add_argument("--p99", type=float, default=60.0, help="the longest p99, in seconds")
    parser.add_argument("--database", choices=DATABASES, default=DATABASES[0])
    options = parser.parse_args()
    with open_env() as env:
        result = run(env, options.database, options.seconds, options.p99)
    print(result.table())
    for breach in result.breaches:
        print(f"BREACH  {breach}")
    print(f"{len(result.breaches)} breaches")
    return 1 if result.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
