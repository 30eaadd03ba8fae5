"""Typed objects from mappings, YAML and JSON files, every mistake reported in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from invdesign.errors import InputError, no_such_file, quoted, shortened

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound="BaseModel")
_MOST_YAML = 1 << 20  # bytes
_MOST_VALUES, _DEEPEST_YAML = 100_000, 40


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        InputError: no such file, not YAML, not a mapping, a field given twice, or more than a configuration
            can hold: 1 MiB, 40 levels, 100 000 values once aliases are written out.
    """
    import yaml

    where = f"config {quoted(str(path))}"
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(_MOST_YAML + 1)
        _check_yaml(text, where)
        fields = yaml.load(text, Loader=_loader())  # noqa: S506 - a safe loader
    except InputError:
        raise
    except FileNotFoundError as error:
        raise no_such_file(path, "a YAML file") from error
    # ValueError: a date or a whole number that is none
    except (OSError, yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        detail = getattr(error, "strerror", None) or shortened(" ".join(str(error).split()), 200)
        raise InputError(f"{where} cannot be read as YAML ({detail}); give a readable YAML file.") from error
    if not isinstance(fields, dict):
        raise InputError(f"{where} is not a mapping; write fields such as 'seed: 0'.")
    return fields


def _loader() -> Any:  # noqa: ANN401 - the class is there where libyaml is
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_yaml(text: str, where: str) -> None:
    """Refuse what would take long to build: deep nesting, aliases that multiply; and a key given twice."""
    import yaml

    if len(text) > _MOST_YAML:
        raise InputError(f"{where} is larger than {_MOST_YAML >> 20} MiB; give the fields of one command.")
    sizes: dict[str, int] = {}  # values below each anchor
    open_: list[_Open] = [_Open("", 0)]
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.CollectionEndEvent):
            closed = open_.pop()
            _count(open_[-1], closed.size, "")
            sizes[closed.anchor] = closed.size
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append(_Open(event.anchor or "", 1, mapping=isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {one.anchor for one in open_}:
                raise InputError(f"{where} has a value that holds itself, *{event.anchor}; write it out.")
            _count(open_[-1], sizes.get(event.anchor or "", 1), "")
        elif isinstance(event, yaml.ScalarEvent):
            if twice := _count(open_[-1], 1, event.value):
                raise InputError(f"{where}: the field {quoted(twice)} is given twice; give it once.")
            sizes[event.anchor or ""] = 1
        if len(open_) > _DEEPEST_YAML or open_[-1].size > _MOST_VALUES:
            raise InputError(
                f"{where} is nested more than {_DEEPEST_YAML} deep or holds more than {_MOST_VALUES} values, "
                "aliases written out; give the fields of one command."
            )


@dataclass(slots=True)
class _Open:
    """A collection of a YAML file of which the end is still to come."""

    anchor: str
    size: int
    mapping: bool = False
    n: int = 0
    keys: set[str] = field(default_factory=set)


def _count(collection: _Open, size: int, text: str) -> str:
    """Add a value, and return the key that it repeats, if it is one that does."""
    collection.size += size
    collection.n += 1
    if not (collection.mapping and collection.n % 2 and text) or text == "<<":
        return ""
    if text in collection.keys:
        return text
    collection.keys.add(text)
    return ""


def read_json(path: Path | str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what a JSON file holds.

    Raises:
        InputError: no such file, or not JSON.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise no_such_file(path, "a JSON file") from error
    except (OSError, UnicodeDecodeError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read ({detail}); give a JSON file.") from error
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what a JSON text holds.

    Raises:
        InputError: not JSON, nested too deeply, or with numbers beyond any sense.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = shortened(" ".join(str(error).split()), 100)
        raise InputError(f"{where}: cannot be read as JSON ({reason}); give the whole file.") from error


def build(model: type[Model], fields: Mapping[str, Any], what: str) -> Model:
    """Return a validated object of a pydantic model.

    Args:
        model: its class.
        fields: values by field name.
        what: the kind of thing, for the error's first words (``campaign``, ``recipe band-gap``).

    Raises:
        InputError: a field is unknown, missing or wrong.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise input_error(error, what, tuple(model.model_fields)) from error


def input_error(error: ValidationError, what: str, known: tuple[str, ...] = ()) -> InputError:
    """Return the most informative mistake that pydantic found, as one sentence."""
    mistakes = error.errors(include_url=False)
    # a misspelt field is also a missing one: the misspelling says more
    first = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause
    field = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        return InputError(f"{what}: there is no field {quoted(field)}; {suggest(field, known)}.")
    if first["type"] == "missing":
        return InputError(f"{what}: the field {field!r} is missing; give it.")
    rule = first["msg"][0].lower() + first["msg"][1:]
    return InputError(f"{what}: field {field!r} is {quoted(first['input'])}; {rule}.")


def suggest(name: str, known: tuple[str, ...]) -> str:
    """``did you mean X? Known: …`` for a name that is not among the known ones."""
    from difflib import get_close_matches

    close = get_close_matches(name[:100].lower(), known, n=1, cutoff=0.6)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {close[0]}? ({listed})" if close else listed
