"""XML that other programs wrote, read within bounds: no entities, no depth, no size without end."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

CHUNK, LONGEST, MOST_KEPT = 2**20, 2**32, 2**29  # bytes: read at once, of a file, of what is kept
ELEMENT, DEEPEST = 100, 100  # bytes of one, about; elements in one another


class XMLRefusedError(ValueError):
    """What no program of the field writes: a document type, deep nesting, gigabytes."""


class _Tree(ET.TreeBuilder):
    """Build a tree without the elements that are not asked for, and of repeated ones keep the last."""

    def __init__(self, skip: Collection[str], last: Collection[str]) -> None:
        super().__init__()
        self.skip = skip
        self.latest: dict[str, Element | None] = dict.fromkeys(last)
        self.size = dict.fromkeys(last, 0)  # of the latest
        self.depth = self.skipping = self.kept = 0

    def doctype(self, *_: object) -> None:
        raise XMLRefusedError("it declares a document type, which may define entities")

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        self.depth += 1
        if self.depth > DEEPEST:
            raise XMLRefusedError(f"its elements are nested more than {DEEPEST} deep")
        if self.skipping or tag in self.skip:
            self.skipping += 1
            return None  # type: ignore[return-value]
        element = super().start(tag, attrs)
        if tag in self.latest:
            if (earlier := self.latest[tag]) is not None:
                earlier.clear()
                self.kept -= self.size[tag]
            self.latest[tag], self.size[tag] = element, -self.kept
        self._keep(ELEMENT + sum(map(len, attrs.values())))
        return element

    def end(self, tag: str) -> Element:
        self.depth -= 1
        if self.skipping:
            self.skipping -= 1
            return None  # type: ignore[return-value]
        if tag in self.latest:
            self.size[tag] += self.kept
        return super().end(tag)

    def data(self, data: str) -> None:
        if not self.skipping:
            self._keep(len(data))
            super().data(data)

    def _keep(self, size: int) -> None:
        self.kept += size
        if self.kept > MOST_KEPT:
            raise XMLRefusedError(f"it holds more than {MOST_KEPT // 2**20} MiB of values")


def chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, unpacked where its name ends in ``.gz``.

    Raises:
        XMLRefusedError: more than 4 GiB.
        OSError, EOFError, zlib.error: it cannot be read or unpacked.
    """
    size = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            if size > LONGEST:
                raise XMLRefusedError(f"it is longer than {LONGEST // 2**30} GiB")
            yield chunk


def parse_xml(path: Path, *, skip: Collection[str] = (), last: Collection[str] = ()) -> Element:
    """Parse a file, plain or ``.gz``.

    Args:
        path: of the file.
        skip: tags of elements that are left out of the tree.
        last: tags of elements of which only the last keeps its content; the others stay, empty.

    Raises:
        XMLRefusedError: a document type (no entity is ever expanded), nesting or size beyond sense.
        xml.etree.ElementTree.ParseError: it is no XML or breaks off.
        OSError, EOFError, zlib.error: it cannot be read or unpacked.
    """
    parser = ET.XMLParser(target=_Tree(skip, last))  # noqa: S314 - entities are refused
    for chunk in chunks(path):
        parser.feed(chunk)
    root: Element = parser.close()
    return root
