# What people do here; `just` lists it. docs/development.md explains.
# Each recipe is one or two commands, which work without just as well.

set positional-arguments

python := ".venv/bin/python"
export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

_list:
    @just --list --unsorted

# A virtual environment in .venv with everything, and the hooks before a commit
setup:
    python3 -m venv .venv
    {{ python }} -m pip install --quiet --require-hashes -r requirements-dev.lock
    pre-commit install

# The shop, as a sandbox unless a Stripe key is set
run *options:
    flask run "$@"

# All tests
test *options:
    pytest "$@"

# The tests without browser, races, kills and chaos, on SQLite alone
test-fast *options:
    pytest -k "not postgresql" --ignore=tests/journeys --ignore=tests/failpoints \
      --ignore=tests/concurrency --ignore=tests/fuzz --ignore=tests/model --ignore=tests/chaos "$@"

# The tests of one area: `just test-area payments`
test-area area *options:
    shift; pytest "tests/{{ area }}" "$@"

# Style, complexity, and who imports whom
lint:
    ruff check .
    ruff format --check .
    lint-imports

# Types of the Python code
types:
    mypy

# The long trials: writers, then chaos on both databases
trials minutes="2":
    python -m tests.writers --seconds 60
    python -m tests.chaos --minutes {{ minutes }} --database sqlite
    python -m tests.chaos --minutes {{ minutes }} --database postgresql

# Whether each small change that breaks the shop is noticed: `just mutations dispute`
mutations *words:
    python -m tests.mutations "$@"

# How fast the shop is, each figure beside a bare yardstick: `just bench page order`
bench *names:
    python -m tests.benchmarks "$@"

# One trial of chaos: `just chaos --seed 7 --database postgresql`
chaos *options:
    python -m tests.chaos "$@"

# The lock files from requirements*.txt: `just lock --upgrade` takes newer indirect ones too
lock *options:
    uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
      --custom-compile-command "just lock" requirements.txt --output-file requirements.lock "$@"
    uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
      --custom-compile-command "just lock" requirements-dev.txt --output-file requirements-dev.lock "$@"

# What a change must pass
ci:
    .ci/run
