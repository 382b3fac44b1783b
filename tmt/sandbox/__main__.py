"""`python -m tmt.sandbox`: the sandbox as a server of its own."""

from tmt.sandbox.server import main

main()
