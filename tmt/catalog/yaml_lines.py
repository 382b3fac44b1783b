"""A YAML file as plain values, with the line of every place in it.

Reading stops at YAML's own nodes: nothing is constructed, so no tag and no implicit type of YAML
decides what a value is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1024 * 1024

_MAX_DEPTH = 8
_TAG = "tag:yaml.org,2002:"

# The way from the root to a value: keys of mappings and indices of lists.
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Scalar:
    """A single value that YAML does not read as text; `kind` is how it would: int, bool, ..."""

    text: str
    kind: str


@dataclass
class Document:
    """A file as dict, list, str, `Scalar` and None. Without `lines` it could not be read."""

    root: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    errors: list[tuple[int, Place, str]] = field(default_factory=list)


def read_yaml(text: str) -> Document:
    """The document in the text, or what keeps it from being one.

    Refused: more than 1 MiB, anchors and aliases (a few lines of them can stand for gigabytes),
    tags, nesting deeper than a catalogue ever is.
    """
    document, loader, root = Document(), None, None
    line, problem = 1, "the file is empty: it must begin with 'events:'"
    try:
        if len(text.encode("utf-8", "replace")) > MAX_BYTES:
            problem = "the file is larger than 1 MiB: import it in parts"
        else:
            loader = _Loader(text)
            root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = "contains a character that YAML does not allow"
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        problem = f"is not valid YAML: {error.problem or error.context}"
    forbidden = loader.forbidden if loader else []
    if root is None:
        forbidden.append((line, problem))
    document.errors = [(line, (), problem) for line, problem in forbidden]
    if not forbidden:
        document.root = _read_node(root, (), document)
    return document


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Composes no more than is written; `forbidden` has line and problem of what was left out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.forbidden: list[tuple[int, str]] = []
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if event.anchor is not None:
            problem = "anchors and aliases (& and *) are not accepted: write the value out"
            self.forbidden.append((line, problem))
            event.anchor = None
        elif getattr(event, "tag", None) is not None:
            self.forbidden.append((line, "tags (!) are not accepted: write the plain value"))
        if isinstance(event, yaml.AliasEvent):
            self.get_event()
            return yaml.ScalarNode(f"{_TAG}null", "")
        if self._depth == _MAX_DEPTH:
            problem = "nested too deeply for a catalogue"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _read_node(node: Any, place: Place, document: Document) -> Any:
    document.lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_read_node(item, (*place, i), document) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        kind = node.tag.removeprefix(_TAG)
        plain = node.value if kind == "str" else Scalar(node.value, kind)
        return None if kind == "null" else plain
    fields: dict[str, Any] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        name = "".join(char if char.isprintable() else "?" for char in name)[:60]
        if name in fields:
            line = key.start_mark.line + 1
            document.errors.append((line, (*place, name), "is written twice"))
        else:
            fields[name] = _read_node(value, (*place, name), document)
    return fields
