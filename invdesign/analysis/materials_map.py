"""A map of materials: a data set on a plane, its clusters and outliers, candidates drawn over it."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from invdesign.analysis.embeddings import KINDS, Materials, embed_file, is_formula_table
from invdesign.core.properties import PROPERTIES
from invdesign.crystal.structure_files import read_entries
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.io.lock import locked_folder
from invdesign.io.provenance import write_run_json
from invdesign.report.plots.materials_map import Map, draw_html, draw_png, map_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from invdesign.analysis.embeddings import Kind, Material

    Progress = Callable[[float, str], None]
    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

Method = Literal["umap", "pca"]
Clusters = Literal["hdbscan", "kmeans"]
METHODS: tuple[Method, ...] = get_args(Method)
CLUSTERS: tuple[Clusters, ...] = get_args(Clusters)
PNG, HTML, TABLE, CLUSTER_TABLE, LEFT_OUT = "map.png", "map.html", "map.csv", "clusters.csv", "left_out.csv"
CACHE = "embeddings.npz"
COMPONENTS = 32  # principal components that distances are taken in: 91 % of the variance of mp20
CLIP = 4.0  # standard deviations, so that rare elements do not make up the axes
NEIGHBOURS = 15  # of UMAP
ISOLATION = 10  # neighbours whose distance says how isolated a material is
OUTLIERS = 0.01  # share of the data called so
PLACED_BY = 5  # known materials between which a candidate is put on a UMAP plane
N_CLUSTERS = 8  # of k-means
FEWEST = 10


def draw_map(
    data: Path,
    out: Path,
    *,
    over: Sequence[Path] = (),
    colour: str | None = None,
    embedding: Kind | None = None,
    method: Method | None = None,
    clusters: Clusters | None = None,
    n_clusters: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = lambda _share, _message: None,
) -> dict[str, Any]:
    """Map a data set and write ``map.png``, ``map.html``, ``map.csv``, ``clusters.csv`` and ``run.json``.

    Args:
        data: file or folder of crystals, a folder that one of our commands wrote, or a CSV of formulas.
        out: folder; CHGNet's embeddings are kept there, so that another map of it takes seconds.
        over: the same kinds, drawn over the data, which alone decides axes and clusters.
        colour: column to colour by; default: the first known property that the data have, or the only
            column of numbers.
        embedding: ``chgnet``, ``composition`` or ``crystal-vae``; default: ``chgnet`` for crystals,
            ``composition`` for formulas.
        method: ``umap`` or ``pca``; default: ``umap`` where umap-learn is installed.
        clusters: ``hdbscan`` (on the plane) or ``kmeans`` (in the space); default: ``hdbscan`` on a UMAP
            plane, ``kmeans`` otherwise.
        n_clusters: of k-means; default 8.
        limit: so many of the data alone, drawn at random.
        seed: of that draw, UMAP and k-means.
        workers: processes that embed; default one per core.
        progress: is told the share that is done and a word on it.

    Returns:
        Paths, counts, the choices made, clusters and the most isolated materials.

    Raises:
        InputError: something cannot be read or embedded, a choice is none, the data have no such column,
            fewer than 10 materials are left, or ``out`` holds other files.
    """
    kind = _kind(data, over, embedding)
    method = _choice("method", method or _default_method(), METHODS)
    clusters = _choice("clusters", clusters or ("hdbscan" if method == "umap" else "kmeans"), CLUSTERS)
    if n_clusters is not None and clusters == "hdbscan":
        raise InputError(
            "n_clusters: hdbscan finds their number itself; leave it out, or take clusters kmeans."
        )
    with locked_folder(out, (CACHE, PNG)):
        known, candidates = _embedded(
            data, over, kind, out / CACHE, limit=limit, seed=seed, workers=workers, progress=progress
        )
        colour = _colour(colour, known, data)
        progress(0.7, f"{method}, {clusters}")
        drawn = _map(
            known.kept,
            candidates.kept,
            colour,
            method=method,
            clusters=clusters,
            n_clusters=n_clusters,
            seed=seed,
        )
        progress(0.9, "drawing")
        told = _write(drawn, known.kept, [*known.left_out, *candidates.left_out], out)
        settings = {
            "data": str(data),
            "over": [str(path) for path in over],
            "embedding": kind,
            "method": method,
        }
        settings |= {"clusters": clusters, "n_clusters": n_clusters, "limit": limit, "seed": seed}
        write_run_json(out, {"map": settings, "materials": drawn.n_known})
        progress(1.0, f"written to {out}")
        return told | {"embedding": kind, "method": method, "clusters_by": clusters}


def _kind(data: Path, over: Sequence[Path], asked: Kind | None) -> Kind:
    formulas = [path for path in (data, *over) if is_formula_table(path)]
    kind: Kind = _choice("embedding", asked or ("composition" if formulas else "chgnet"), KINDS)
    if formulas and kind != "composition":
        raise InputError(
            f"embedding: {formulas[0]} holds formulas alone, which {kind} cannot embed; take composition."
        )
    return kind


def _choice(field: str, value: Any, known: tuple[Any, ...]) -> Any:  # noqa: ANN401 - one of the known
    if value not in known:
        raise InputError(f"{field}: there is no {value!r}; take one of {', '.join(known)}.")
    return value


def _default_method() -> Method:
    from importlib.util import find_spec

    return "umap" if find_spec("umap") else "pca"


def _embedded(
    data: Path,
    over: Sequence[Path],
    kind: Kind,
    cache: Path,
    *,
    limit: int | None,
    seed: int,
    workers: int | None,
    progress: Progress,
) -> tuple[Materials, Materials]:
    for path in over:  # a mistake in the second file shall not cost the first one's embeddings
        if not is_formula_table(path):
            next(read_entries(path), None)
    known = embed_file(
        data,
        kind,
        cache=cache,
        limit=limit,
        seed=seed,
        workers=workers,
        progress=lambda share, message: progress(0.6 * share, message),
    )
    if len(known.kept) < FEWEST:
        raise InputError(
            f"data: {data} has {len(known.kept)} materials that can be embedded; give {FEWEST} or more."
        )
    candidates = Materials([], [])
    for path in over:
        own = embed_file(
            path, kind, cache=cache, workers=workers, progress=lambda _, message: progress(0.65, message)
        )
        candidates.kept += own.kept
        candidates.left_out += own.left_out
    return known, candidates


def _colour(asked: str | None, known: Materials, data: Path) -> str:
    columns = sorted({name for material in known.kept for name in material.properties})
    if asked is None:
        only = columns[0] if len(columns) == 1 else ""
        return next((name for name in PROPERTIES if name in columns), only)
    if asked not in columns:
        raise InputError(
            f"color: {data} has no numbers called {asked!r}; it has {', '.join(columns) or 'none'}."
        )
    return asked


def _map(
    known: list[Material],
    candidates: list[Material],
    colour: str,
    *,
    method: Method,
    clusters: Clusters,
    n_clusters: int | None,
    seed: int,
) -> Map:
    """Axes, clusters and isolation: from the data alone, the candidates placed among them."""
    n = len(known)
    rows = np.stack([material.vector for material in (*known, *candidates)])  # type: ignore[misc]
    space, shares = principal_components(rows, n)
    places, distances = _neighbours(space, n)
    isolation = distances.mean(axis=1)
    isolation /= max(float(np.median(isolation[:n])), np.finfo(float).tiny)
    if method == "umap":
        plane = _umap(space[:n], seed)
        weight = 1 / np.maximum(distances[n:, :PLACED_BY], 1e-9)
        weight /= weight.sum(axis=1, keepdims=True)
        placed = np.einsum("mk,mkc->mc", weight, plane[places[n:, :PLACED_BY]])
        points, axes = np.concatenate([plane, placed]), ("UMAP 1", "UMAP 2")
    else:
        points = space[:, :2]
        axes = (f"principal axis 1 ({shares[0]:.0%} of the variance)", f"2 ({shares[1]:.0%})")
    labels = (
        _hdbscan(points[:n]) if clusters == "hdbscan" else _kmeans(space[:n], n_clusters or N_CLUSTERS, seed)
    )
    labels = np.concatenate([labels, labels[places[n:, 0]]])
    outlier = isolation > np.quantile(isolation[:n], 1 - OUTLIERS)
    materials = (*known, *candidates)
    return Map(
        ids=[material.id for material in materials],
        formulas=[material.formula for material in materials],
        n_known=n,
        points=points,
        axes=axes,
        cluster=labels,
        isolation=isolation,
        outlier=outlier,
        colour=colour,
        values=np.array([material.properties.get(colour, np.nan) for material in materials]),
    )


def principal_components(rows: NDArray[np.float32], n: int) -> tuple[Array, Array]:
    """Standardised rows on the principal axes of the first ``n``, and each axis's share of the variance.

    What is unknown (nan) counts as the mean; the larger side of each axis is the positive one, so that a map
    does not flip.
    """
    known = rows[:n].astype(np.float64)
    spread = np.nanstd(known, axis=0)
    scaled = (rows - np.nanmean(known, axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    scaled = np.nan_to_num(np.clip(scaled, -CLIP, CLIP))
    scaled -= scaled[:n].mean(axis=0)
    _, sizes, axes = np.linalg.svd(scaled[:n], full_matrices=False)
    space = scaled @ axes[:COMPONENTS].T
    space *= np.where(space[:n].max(axis=0) < -space[:n].min(axis=0), -1.0, 1.0)
    return space, sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)


def _neighbours(space: Array, n: int) -> tuple[Labels, Array]:
    """Rows and distances (n + m, k) of the nearest of the first n; none is its own neighbour."""
    from sklearn.neighbors import NearestNeighbors

    k = min(ISOLATION, n - 1)
    finder = NearestNeighbors(n_neighbors=k).fit(space[:n])
    distances, places = finder.kneighbors()
    if len(space) > n:
        more, other = finder.kneighbors(space[n:])
        distances, places = np.concatenate([distances, more]), np.concatenate([places, other])
    return places, distances


def _umap(space: Array, seed: int) -> Array:
    """Exact neighbours and a start from the principal axes: the same seed gives the same plane."""
    from sklearn.neighbors import NearestNeighbors

    try:
        from umap import UMAP
    except ImportError as error:
        raise InputError(
            "method: umap needs umap-learn; pip install 'invdesign[map]', or take method pca."
        ) from error
    rows, k = space.astype(np.float32), min(NEIGHBOURS, len(space) - 1)
    distances, places = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors(rows)
    model = UMAP(
        n_neighbors=k,
        random_state=seed,
        n_jobs=1,
        init="pca",
        precomputed_knn=(places, distances.astype(np.float32)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing new can be placed: candidates are placed by _map
        return np.asarray(model.fit_transform(rows), dtype=np.float64)


def _hdbscan(points: Array) -> Labels:
    from sklearn.cluster import HDBSCAN

    smallest = max(5, len(points) // 100)
    found = HDBSCAN(min_cluster_size=smallest, min_samples=min(10, smallest), copy=True).fit(points).labels_
    return _by_size(found)


def _kmeans(space: Array, n_clusters: int, seed: int) -> Labels:
    from sklearn.cluster import KMeans

    return _by_size(KMeans(min(n_clusters, len(space)), n_init=4, random_state=seed).fit(space).labels_)


def _by_size(labels: NDArray[np.integer[Any]]) -> Labels:
    """Labels renumbered from the largest cluster on; -1 stays."""
    order = [label for label, _ in Counter(labels.tolist()).most_common() if label >= 0]
    number = {label: i for i, label in enumerate(order)} | {-1: -1}
    return np.array([number[label] for label in labels.tolist()], dtype=np.int64)


def _write(drawn: Map, known: list[Material], left_out: list[tuple[str, str]], out: Path) -> dict[str, Any]:
    described = cluster_rows(drawn, known)
    _table(out / TABLE, map_rows(drawn))
    _table(out / CLUSTER_TABLE, described)
    (out / LEFT_OUT).unlink(missing_ok=True)
    if left_out:
        _table(out / LEFT_OUT, [{"id": name, "reason": reason} for name, reason in left_out])
    draw_png(drawn, out / PNG)
    draw_html(drawn, out / HTML)
    order = np.argsort(-drawn.isolation[: drawn.n_known], kind="stable")[:10]
    return {
        "out": str(out),
        "n": drawn.n_known,
        "n_over": len(drawn.ids) - drawn.n_known,
        "n_left_out": len(left_out),
        "colour": drawn.colour,
        "clusters": described,
        "in_no_cluster": int((drawn.cluster[: drawn.n_known] < 0).sum()),
        "most_isolated": [
            {"id": drawn.ids[i], "formula": drawn.formulas[i], "outlier_score": round(drawn.isolation[i], 2)}
            for i in order.tolist()
        ],
        "candidates_outside": int(drawn.outlier[drawn.n_known :].sum()),
    }


def cluster_rows(drawn: Map, known: list[Material]) -> list[dict[str, Any]]:
    """What each cluster is: size, commonest elements, median of the property, its most typical material."""
    rows = []
    n = drawn.n_known
    for label in range(int(drawn.cluster[:n].max(initial=-1)) + 1):
        members = np.flatnonzero(drawn.cluster[:n] == label)
        elements = Counter(element for i in members.tolist() for element in known[i].amounts)
        common = " ".join(f"{e} {count / len(members):.0%}" for e, count in elements.most_common(4))
        typical = int(members[np.argmin(drawn.isolation[members])])
        row = {"cluster": label + 1, "n": len(members), "elements": common}
        row |= {"typical": drawn.formulas[typical], "typical_id": drawn.ids[typical]}
        values = drawn.values[members]
        if drawn.colour:
            known_values = values[np.isfinite(values)]
            row[f"median_{drawn.colour}"] = (
                round(float(np.median(known_values)), 4) if len(known_values) else None
            )
        rows.append(row)
    return rows


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["cluster", "n"])
        writer.writeheader()
        writer.writerows(rows)
