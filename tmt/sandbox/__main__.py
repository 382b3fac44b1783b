"""`python -m tmt.sandbox`: the sandbox as a server of its own."""

from __future__ import annotations

import argparse

from tmt.sandbox.server import serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tmt.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=12111, help="port on 127.0.0.1")
    parser.add_argument("--store", default="sandbox.sqlite", help="SQLite file that keeps it all")
    parser.add_argument("--webhook", metavar="URL", help="where events are sent")
    options = parser.parse_args()
    serve(options.port, options.store, options.webhook)


if __name__ == "__main__":
    main()
