"""ASE's trajectories (``.traj``), read as what they are: JSON and arrays within the file.

ASE's own reader allocates what a file announces; old trajectories are pickles, which are code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.crystal.readers.entry import PERIODIC, Record, Unreadable, crystal, entry, label_of, stem
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_MARK, _TAG = (b"- of Ulm", b"AFFormat"), slice(8, 24)
_PICKLE = b"PickleTrajectory"
_SAME = ("numbers", "pbc")  # written with the first frame alone where they stay


def read_trajectory(path: Path) -> Iterator[Record | Unreadable]:
    """Yield the frames of a trajectory, with the values in ``atoms.info``.

    Raises:
        InputError: not a trajectory of ASE 3.9 or later.
    """
    data = path.read_bytes()
    if data.startswith(_PICKLE) or data[:1] == b"\x80":
        raise InputError(
            f"{path}: is a pickle, which can run code and is never read; convert it to extxyz with ASE."
        )
    try:
        if data[:8] not in _MARK or data[_TAG].strip() != b"ASE-Trajectory":
            raise ValueError("no ASE-Trajectory")  # noqa: TRY301
        _, n, start = (int(x) for x in _array(data, (3,), "int64", 24))
        offsets = _array(data, (n,), "int64", start).tolist()
        frames = [_frame(data, offset) for offset in offsets]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not a trajectory of ASE ({error}); give the whole file.") from error
    if not frames:
        raise InputError(f"{path}: the trajectory has no frames; give one with crystals.")
    same = {name: frames[0][name] for name in _SAME if name in frames[0]}
    for number, frame in enumerate(frames, start=1):
        info = frame.get("info")
        columns = {k: v for k, v in info.items() if not k.endswith(".")} if isinstance(info, dict) else {}
        label = label_of(columns, f"{stem(path)}:{number}")
        read = partial(_structure, data, same | frame, f"{path}: frame {number}")
        yield entry(label, read, columns)


def _frame(data: bytes, offset: int) -> dict[str, Any]:
    """Return one frame: values, and by name with a dot where the arrays are."""
    (size,) = _array(data, (1,), "int64", offset)
    frame = json.loads(data[offset + 8 : offset + 8 + int(size)])
    if not isinstance(frame, dict):
        raise TypeError("a frame is no mapping")
    return {name.removesuffix("."): value for name, value in frame.items()}


def _structure(data: bytes, frame: dict[str, Any], where: str) -> Structure:
    try:
        numbers, positions = (_values(data, frame[name]) for name in ("numbers", "positions"))
        cell = _values(data, frame.get("cell", np.zeros(9)))
        pbc = [bool(along) for along in np.ravel(_values(data, frame.get("pbc", PERIODIC)))]
        elements = np.ravel(numbers).tolist()
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: has no numbers, positions and cell; write it again with ASE.") from error
    return crystal(cell, elements, positions, where, cartesian=True, pbc=(pbc * 3)[:3])


def _values(data: bytes, value: Any) -> Any:  # noqa: ANN401 - a list, or where an array is
    if isinstance(value, dict):
        shape, kind, offset = value["ndarray"]
        return _array(data, tuple(shape), kind, offset)
    return value


def _array(data: bytes, shape: tuple[int, ...], kind: str, offset: int) -> np.ndarray:
    dtype = np.dtype(kind).newbyteorder("<")
    if dtype.kind not in "biuf" or min(shape, default=0) < 0 or offset < 0:
        raise ValueError(f"an array of {dtype}")
    return np.frombuffer(data, dtype, math.prod(shape), offset).reshape(shape)
