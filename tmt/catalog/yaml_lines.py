"""A YAML file as plain values, with the line of every place in it.

Reading stops at YAML's own events: nothing is constructed, so no tag and no implicit type of YAML
decides what a value is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import yaml

_MAX_MEBIBYTES = 8
MAX_BYTES = _MAX_MEBIBYTES * 1024 * 1024

_MAX_DEPTH = 8
_TAG = "tag:yaml.org,2002:"
# The parser in C is ten times as fast; where PyYAML was built without it, the other one serves.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER = yaml.resolver.Resolver()

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

    Refused: more than `MAX_BYTES`, anchors and aliases (a few lines of them can stand for
    gigabytes), tags, nesting deeper than a catalogue ever is.
    """
    content = text.encode("utf-8", "replace")
    if len(content) > MAX_BYTES:
        problem = f"the file is larger than {_MAX_MEBIBYTES} MiB: import it in parts"
        return Document(errors=[(1, (), problem)])
    reader = _Reader(content)
    try:
        reader.read()
    except yaml.reader.ReaderError as error:
        line = content.count(b"\n", 0, error.position) + 1
        reader.forbid(line, "contains a character that YAML does not allow")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        reader.forbid(line, f"is not valid YAML: {error.problem or error.context}")
    return Document(errors=reader.forbidden) if reader.forbidden else reader.document


class _Reader:
    """Puts YAML's events together to a document, and collects what a catalogue may not have."""

    def __init__(self, content: bytes) -> None:
        self.document = Document()
        self.forbidden: list[tuple[int, Place, str]] = []
        self._events = yaml.parse(content, Loader=_LOADER)

    def forbid(self, line: int, problem: str) -> None:
        self.forbidden.append((line, (), problem))

    def read(self) -> None:
        """Raises `yaml.YAMLError` where the text is no YAML, or nested too deeply."""
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self.document.lines:
                    self.forbid(event.start_mark.line + 1, "is not valid YAML: a second document")
                    return
                self.document.root = self._value(next(self._events), ())
        if not self.document.lines:
            self.forbid(1, "the file is empty: it must begin with 'events:'")

    def _value(self, event: Any, place: Place) -> Any:
        line = self.document.lines[place] = event.start_mark.line + 1
        if event.anchor is not None:
            self.forbid(line, "anchors and aliases (& and *) are not accepted: write the value out")
        elif event.tag is not None:
            self.forbid(line, "tags (!) are not accepted: write the plain value")
        if isinstance(event, yaml.ScalarEvent):
            tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
            kind = tag.removeprefix(_TAG)
            plain = event.value if kind == "str" else Scalar(event.value, kind)
            return None if kind == "null" else plain
        if len(place) == _MAX_DEPTH:
            problem = "nested too deeply for a catalogue"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if isinstance(event, yaml.SequenceStartEvent):
            rest = iter(self._events.__next__, None)
            items = enumerate(takewhile(lambda e: not isinstance(e, yaml.SequenceEndEvent), rest))
            return [self._value(item, (*place, index)) for index, item in items]
        return self._fields(place) if isinstance(event, yaml.MappingStartEvent) else None

    def _fields(self, place: Place) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            is_text = isinstance(key, yaml.ScalarEvent)
            name = key.value if is_text else "?"
            name = "".join(char if char.isprintable() else "?" for char in name)[:60]
            self._value(key, (*place, name))
            value = self._value(next(self._events), (*place, name))
            if name in fields:
                line = key.start_mark.line + 1
                self.document.errors.append((line, (*place, name), "is written twice"))
            fields.setdefault(name, value)
        return fields
