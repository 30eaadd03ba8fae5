"""Makes ``space_groups.npz``: ``python -m invdesign.training.tables.wyckoff`` (needs pyxtal; minutes)."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from invdesign.crystal.wyckoff import GENERIC, TABLE, UNIT, Array, WyckoffPosition, make_position


def build_space_groups() -> None:
    """Write the table of all 230 groups."""
    import moyopy
    from pyxtal.symmetry import Group
    from rich.progress import track

    columns: dict[str, list[Array]] = {k: [] for k in ("operations", "to_primitive", "maps", "affines")}
    counts: dict[str, list[int]] = {
        k: [] for k in ("n_operations", "n_maps", "n_positions", "n_relabellings", "multiplicities")
    }
    letters: list[str] = []
    images: list[str] = []
    for number in track(range(1, 231), "space groups"):
        operations = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
        rotations, translations = np.array(operations.rotations, float), np.array(operations.translations)
        to_primitive = _primitive_vectors(rotations, translations)
        positions = {
            p.letter: make_position(p.letter, np.array([op.affine_matrix[:3] for op in p.ops]), to_primitive)
            for p in reversed(list(Group(number)))
        }
        relabellings = _relabellings(positions, rotations, translations, to_primitive)
        letters.append("".join(positions))
        images += ["".join(mapping.values()) for mapping, _ in relabellings]
        columns["operations"].append(np.concatenate([rotations, translations[:, :, None]], axis=2))
        columns["to_primitive"].append(to_primitive[None])
        columns["maps"] += [p.maps for p in positions.values()]
        columns["affines"] += [affine[None, :3] for _, affine in relabellings]
        counts["multiplicities"] += [p.multiplicity for p in positions.values()]
        counts["n_operations"].append(len(rotations))
        counts["n_maps"].append(sum(p.multiplicity for p in positions.values()))
        counts["n_positions"].append(len(positions))
        counts["n_relabellings"].append(len(relabellings))
    integers = {name: np.round(np.concatenate(parts) * UNIT) for name, parts in columns.items()}
    for name, parts in columns.items():
        if np.abs(integers[name] - np.concatenate(parts) * UNIT).max() > 1e-6:
            raise ValueError(f"{name} has entries that are not multiples of 1/{UNIT}")
    table: dict[str, Any] = {"letters": np.array(letters), "images": np.array(images)}
    table |= {name: values.astype(np.int16) for name, values in integers.items()}
    table |= {name: np.array(values, dtype=np.int32) for name, values in counts.items()}
    np.savez_compressed(TABLE, **table)


def _primitive_vectors(rotations: Array, translations: Array) -> Array:
    """Rows: a short primitive basis of the centred lattice, in the conventional basis."""
    centring = translations[(rotations == np.eye(3)).all(axis=(1, 2))]
    cells = np.array(np.meshgrid(*[[-1.0, 0.0]] * 3)).reshape(3, -1).T
    vectors = (np.mod(centring, 1.0)[:, None] + cells).reshape(-1, 3)
    vectors = np.vstack([np.eye(3), vectors[np.abs(vectors).max(axis=1) > 0]])
    vectors = vectors[np.lexsort([*vectors.T, np.round((vectors**2).sum(axis=1), 6)])]
    volume = 1.0 / len(centring)
    for i, j, k in combinations(range(len(vectors)), 3):
        basis = vectors[[i, j, k]]
        determinant = np.linalg.det(basis)
        if abs(abs(determinant) - volume) < 1e-6:
            return basis if determinant > 0 else -basis
    raise AssertionError


@cache
def _unimodular() -> Array:
    """(n, 3, 3) all integer matrices with entries -1, 0, 1 and determinant 1 or -1, identity first."""
    entries = np.array(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 9)).reshape(9, -1).T.reshape(-1, 3, 3)
    matrices = entries[np.abs(np.abs(np.linalg.det(entries)) - 1) < 1e-6]
    ordered: Array = matrices[np.argsort(np.abs(matrices - np.eye(3)).sum(axis=(1, 2)), kind="stable")]
    return ordered


def _relabellings(
    positions: dict[str, WyckoffPosition], rotations: Array, translations: Array, to_primitive: Array
) -> tuple[tuple[dict[str, str], Array], ...]:
    """Letter permutations induced by changes of basis and origin that keep the space group.

    A crystal described in another, equally standard setting has other letters: the gene is made
    unique by taking the smallest labelling. Changes of basis are integer matrices with entries
    up to 1 in size (none for triclinic groups, where the reduced cell already fixes the basis).
    """
    orbits = {letter: p.maps @ GENERIC for letter, p in positions.items()}
    found: dict[tuple[str, ...], Array] = {}
    for linear in _normaliser_linear_parts(rotations, to_primitive):
        for shift in _normaliser_shifts(linear, rotations, translations, to_primitive):
            inverse = np.linalg.inv(linear)
            images = tuple(
                _letter_of(orbits[letter] @ inverse.T - inverse @ shift, positions, position)
                for letter, position in positions.items()
            )
            if images not in found:
                affine = np.eye(4)
                affine[:3, :3] = inverse
                affine[:3, 3] = -inverse @ shift
                found[images] = affine
    return tuple((dict(zip(positions, images, strict=True)), affine) for images, affine in found.items())


def _normaliser_linear_parts(rotations: Array, to_primitive: Array) -> list[Array]:
    """Basis changes that map the rotations and the lattice onto themselves, one per coset of the group."""
    group = {tuple(r.ravel().astype(int)) for r in rotations}
    if len(group) <= 2 and all(abs(np.trace(r)) == 3 for r in rotations):
        return [np.eye(3)]
    # a basis change and its product with a rotation of the group relabel alike
    distinct = np.array(sorted(group), dtype=float).reshape(-1, 3, 3)
    seen: set[tuple[int, ...]] = set()
    kept = []
    for linear in _unimodular():
        key = tuple(linear.ravel().astype(int))
        if key in seen:
            continue
        conjugates = np.linalg.inv(linear) @ distinct @ linear
        lattice = np.linalg.inv(to_primitive.T) @ linear @ to_primitive.T
        if np.abs(lattice - np.round(lattice)).max() > 1e-6:
            continue
        if all(tuple(np.round(c).ravel().astype(int)) in group for c in conjugates):
            kept.append(linear)
            seen.update(tuple(np.round(linear @ r).ravel().astype(int)) for r in distinct)
    return kept


def _normaliser_shifts(linear: Array, rotations: Array, translations: Array, to_primitive: Array) -> Array:
    """(n, 3) origin shifts which, with the basis change, map the space group onto itself."""
    hexagonal = any(abs(r[0, 0] + r[0, 1]) == 0 and r[0, 0] != 0 and r[1, 0] != 0 for r in rotations)
    eighths = np.arange(8) / 8
    if hexagonal or (np.abs(rotations).sum(axis=2) > 1).any():
        plane = [(0, 0), (1 / 3, 2 / 3), (2 / 3, 1 / 3), (1 / 2, 0), (0, 1 / 2), (1 / 2, 1 / 2)]
        grid = np.array([(x, y, z) for x, y in plane for z in np.arange(12) / 12])
    else:
        grid = np.array(np.meshgrid(eighths, eighths, eighths, indexing="ij")).reshape(3, -1).T
    inverse = np.linalg.inv(linear)
    unprimitive = np.linalg.inv(to_primitive)
    keep = np.ones(len(grid), dtype=bool)
    by_rotation: dict[tuple[int, ...], Array] = {
        tuple(r.ravel().astype(int)): t for r, t in zip(rotations, translations, strict=True)
    }
    for r, t in zip(rotations, translations, strict=True):
        target = by_rotation[tuple(np.round(inverse @ r @ linear).ravel().astype(int))]
        moved = (t + grid @ r.T - grid) @ inverse.T - target
        offset = moved @ unprimitive
        keep &= np.abs(offset - np.round(offset)).max(axis=1) < 1e-6
    offsets = np.mod(np.round(grid[keep] @ unprimitive, 6), 1.0)
    _, distinct = np.unique(np.round(offsets, 4), axis=0, return_index=True)
    return grid[keep][np.sort(distinct)]


def _letter_of(orbit: Array, positions: dict[str, WyckoffPosition], like: WyckoffPosition) -> str:
    """Return the Wyckoff letter of an orbit known to lie on a position of the same kind as ``like``."""
    return next(
        letter
        for letter, position in positions.items()
        if position.multiplicity == like.multiplicity
        and len(position.free) == len(like.free)
        and position.solve(orbit)[1] < 1e-5
    )


if __name__ == "__main__":
    build_space_groups()
