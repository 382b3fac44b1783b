"""Read by gunicorn when it starts in this folder."""

import subprocess
import sys
from pathlib import Path
from typing import Any


def on_starting(_server: Any) -> None:
    """Ends the start with one sentence where the shop cannot run, as without a database.

    In a process of its own: what the master has imported, a reload would not read again.
    """
    app = Path(__file__).with_name("app.py")
    if subprocess.run([sys.executable, str(app)], check=False).returncode:  # noqa: S603
        sys.exit(1)
