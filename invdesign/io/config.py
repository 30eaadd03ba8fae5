"""Typed objects from mappings and YAML files, every mistake reported in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from invdesign.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound="BaseModel")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        InputError: no such file, not YAML, or not a mapping.
    """
    from pathlib import Path

    import yaml

    try:
        fields = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        detail = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"config {str(path)!r} cannot be read as YAML ({detail}); give a readable YAML file."
        ) from error
    if not isinstance(fields, dict):
        raise InputError(f"config {str(path)!r} is not a mapping; write fields such as 'seed: 0'.")
    return fields


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
        return InputError(f"{what}: there is no field {field!r}; {suggest(field, known)}.")
    if first["type"] == "missing":
        return InputError(f"{what}: the field {field!r} is missing; give it.")
    rule = first["msg"][0].lower() + first["msg"][1:]
    return InputError(f"{what}: field {field!r} is {first['input']!r}; {rule}.")


def suggest(name: str, known: tuple[str, ...]) -> str:
    """``did you mean X? Known: …`` for a name that is not among the known ones."""
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {close[0]}? ({listed})" if close else listed
