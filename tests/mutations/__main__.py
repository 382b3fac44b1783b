"""`python -m tests.mutations [words]`: does a trial notice each small change that breaks the shop?

Each is made alone, in a copy of the tree, and the trial that has to catch it is run there. First
the trials are run on an unchanged copy, as one that fails anyway shows nothing. Prints what
survives, and ends with 1 if anything does. Words choose the mutations whose description contains
one of them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.mutations import CHAOS, MUTATIONS, Mutation
from tests.servers import ROOT, clean_environment

_PARTS = ("tmt", "tests", "templates", "static", "app.py", "pyproject.toml")
# What the exit codes of pytest and chaos mean of a trial.
_OUTCOMES = {0: "SURVIVED", 1: "caught"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the mutations; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations that contain one of these")
    parser.add_argument("--at-once", type=int, default=2, help="trials that run at the same time")
    parser.add_argument("--skip-unchanged", action="store_true", help="no trial without mutation")
    options = parser.parse_args(arguments)
    words = options.words or [""]
    chosen = [one for one in MUTATIONS if any(word in one.what for word in words)]
    with tempfile.TemporaryDirectory(prefix="tmt-mutations-") as name:
        folder = Path(name)
        # PostgreSQL refuses to run as root and must get into the folder as somebody else.
        folder.chmod(0o755)
        with ThreadPoolExecutor(options.at_once) as threads:
            tried = partial(_try, folder)
            if not options.skip_unchanged:
                unchanged = [Mutation("unchanged", "", "", "", t) for t in _trials(chosen)]
                failing = [o for o in threads.map(tried, unchanged) if o != "SURVIVED"]
                if failing:
                    print(f"{len(failing)} trials fail without any mutation")
                    return 1
            outcomes = list(threads.map(tried, chosen))
    others = [o for o in outcomes if o != "caught"]
    print(f"{len(chosen)} mutations, {len(others)} not caught")
    return 1 if others else 0


def _trials(mutations: Sequence[Mutation]) -> list[str]:
    return list(dict.fromkeys(mutation.trial for mutation in mutations))


def _try(folder: Path, mutation: Mutation) -> str:
    """Makes the change in a copy of its own and runs the trial there; how that ended."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        copy, began = Path(name), time.monotonic()
        copy.chmod(0o755)
        for part in _PARTS:
            source = ROOT / part
            shutil.copytree(source, copy / part) if source.is_dir() else shutil.copy2(source, copy)
        if mutation.path:
            mutation.apply(copy)
        # What a trial leaves behind goes with the copy.
        environment = clean_environment() | {"PYTHONPATH": str(copy), "TMPDIR": str(copy)}
        command = [sys.executable, "-m", *mutation.command]
        if CHAOS not in command:
            command.append(f"--basetemp={copy / 'run'}")
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
    outcome = _OUTCOMES.get(done.returncode, f"the trial is broken ({done.returncode})")
    if mutation.path or outcome != "SURVIVED":
        seconds = time.monotonic() - began
        label = outcome if mutation.path else "FAILS"
        print(f"{label:9} {mutation.what} ({mutation.trial}, {seconds:.0f} s)", flush=True)
        if outcome != "caught" or not mutation.path:
            print(done.stdout[-1500:] + done.stderr[-500:], flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
