"""What a fuzzer sends: JSON of every shape, texts of every alphabet, numbers of every size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(max_size=60) | st.sampled_from(
    ["", " ", "\x00", "\u202e", "💃" * 40, "x" * 700, "'; --", "<b>", "%00", "../refunds", "a\r\nb"]
)
NUMBERS = (
    st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.sampled_from([0, -0.0, 1e-30, 10**18, 10**400, True])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
IDS = st.sampled_from(
    ["pi_none", "pi_3/cancel", "../refunds", "..", ".", "pi_3?expand[]=customer", "/", "pi_\x00"]
)
# A header carries anything but the end of its client.
HEADERS = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=80).map(
    lambda text: text.encode("latin-1")
)


def written(value: Any) -> bytes:
    """The value as JSON, with what Python's own writer adds to it: NaN and lone surrogates."""
    return json.dumps(value).encode()


def bodies(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Such values as JSON; one in four cut short, or bytes that are nothing."""
    whole = values.map(written)
    cut = st.tuples(whole, st.floats(0, 1)).map(lambda t: t[0][: int(t[1] * len(t[0]))])
    deep = st.sampled_from([b"[" * 20_000, b'{"data":' * 5000, b"\xff\xfe{}", b"1" * 5000])
    broken = cut | deep | st.binary(max_size=80)
    return st.integers(0, 3).flatmap(lambda chance: whole if chance else broken)


def nearly(
    right: Mapping[str, st.SearchStrategy[Any]], other: st.SearchStrategy[Any] = JSON
) -> st.SearchStrategy[dict[str, Any]]:
    """An object with these fields, of which one or two may be missing or anything else."""
    names = st.sampled_from(sorted(right))
    changed = st.dictionaries(names, other, max_size=2)
    missing = st.lists(names, max_size=1)

    def put_together(parts: tuple[dict[str, Any], dict[str, Any], list[str]]) -> dict[str, Any]:
        fields, others, gone = parts
        return {name: value for name, value in (fields | others).items() if name not in gone}

    return st.tuples(st.fixed_dictionaries(dict(right)), changed, missing).map(put_together)
