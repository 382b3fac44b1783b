"""Processes of the shop, forked off one that has imported it and runs no thread.

That takes a moment where a Python of its own takes seconds.
"""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.warm"])
