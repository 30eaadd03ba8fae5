"""Registries: what is in the package, and what other distributions bring, by name.

A plug-in is an entry point (``importlib.metadata``) of one of the groups ``invdesign.potentials``,
``invdesign.properties``, ``invdesign.predictors``, ``invdesign.generators``, ``invdesign.dft_codes``.
CONTRIBUTING.md shows how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from invdesign.errors import InputError
from invdesign.io.config import suggest
from invdesign.version import __version__


@cache
def installed(group: str) -> EntryPoints:
    """Return the entry points of a group, looked up once: that takes milliseconds."""
    return entry_points(group=group)


@dataclass(frozen=True)
class Registry:
    """Named things of one kind.

    Attributes:
        kind: the word for one of them in a sentence, such as ``potential``.
        group: entry-point group that plug-ins use.
        built_in: ``module:attribute`` by name; a plug-in cannot take one of these names.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]

    @property
    def entries(self) -> dict[str, EntryPoint]:
        """Return the entry points by name, built-in ones first.

        Raises:
            InputError: two of them have the same name.
        """
        found = {name: EntryPoint(name, where, self.group) for name, where in self.built_in.items()}
        for entry in sorted(installed(self.group), key=lambda entry: entry.name):
            if entry.name in found and entry.value != found[entry.name].value:
                raise InputError(
                    f"{self.kind}: {entry.name!r} is offered by both {found[entry.name].value} and "
                    f"{entry.value}; uninstall one of them."
                )
            found[entry.name] = entry
        return found

    def names(self) -> tuple[str, ...]:
        """Return the names of all of them."""
        return tuple(self.entries)

    def load(self, name: str) -> Any:  # noqa: ANN401 - the caller knows the kind's protocol
        """Import one of them.

        Raises:
            InputError: there is none of that name, or a plug-in cannot be imported.
        """
        entries = self.entries
        if name not in entries:
            raise InputError(f"{self.kind}: there is no {name!r}; {suggest(name, tuple(entries))}.")
        try:
            return entries[name].load()
        except (ImportError, AttributeError) as error:
            if name in self.built_in:
                raise
            where = entries[name].value
            raise InputError(
                f"{self.kind}: the plug-in {name!r} ({where}) cannot be imported ({error}); remove it."
            ) from error

    def version(self, name: str) -> str:
        """Return name and version of the distribution that brings a plug-in, or of this package."""
        brought_by = self.entries[name].dist
        return f"{brought_by.name} {brought_by.version}" if brought_by else f"invdesign {__version__}"
