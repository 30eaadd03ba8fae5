"""A map of materials: a data set on a plane, its clusters and outliers, candidates drawn over it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from invdesign.analysis.embeddings import KINDS, Kind, Material, Materials, embed
from invdesign.campaign.validate import check_least
from invdesign.core.properties import PROPERTIES
from invdesign.crystal.structure_files import read_entries
from invdesign.data.dataset import is_formula_table
from invdesign.errors import InputError
from invdesign.io.lock import locked_folder
from invdesign.io.progress import Progress, no_progress
from invdesign.io.provenance import write_run_json
from invdesign.io.tables import Tabular, write_csv
from invdesign.report.plots.materials_map import Map, draw_html, draw_png, map_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

Method = Literal["umap", "pca"]
Clusters = Literal["hdbscan", "kmeans"]
METHODS: tuple[Method, ...] = get_args(Method)
CLUSTERS: tuple[Clusters, ...] = get_args(Clusters)
PNG, HTML, TABLE, CLUSTER_TABLE, LEFT_OUT = "map.png", "map.html", "map.csv", "clusters.csv", "left_out.csv"
CACHE = "embeddings.npz"
COMPONENTS = 32  # principal components for distances: 91 % of the variance of mp20
CLIP = 4.0  # standard deviations, so that rare elements do not dominate the axes
NEIGHBORS = 15  # of UMAP
ISOLATION = 10  # neighbours whose mean distance is the isolation of a material
OUTLIERS = 0.01  # share of the data that counts as outliers
PLACED_BY = 5  # known materials between which a candidate is put on a UMAP plane
N_CLUSTERS = 8  # of k-means
FEWEST = 10


@dataclass(frozen=True, slots=True)
class MapResult(Tabular):
    """A map of materials.

    Attributes:
        materials: the map: id, point, cluster, outlier score and value of each material.
        settings: what was chosen: embedding, method, clusters_by.
        clusters: size, commonest elements, median of the property and most typical material per cluster.
        most_isolated: the ten most isolated materials of the data.
        n_left_out: entries that could not be embedded.
        out: folder of the files; None where none were written.
    """

    materials: Map
    settings: dict[str, str]
    clusters: list[dict[str, Any]]
    most_isolated: list[dict[str, Any]]
    n_left_out: int
    out: Path | None

    def __repr__(self) -> str:
        """Return how many materials lie in how many clusters."""
        return f"<map: {self.materials.n_known} materials, {len(self.clusters)} clusters>"

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per material, as in ``map.csv``."""
        return map_rows(self.materials)

    def as_json(self) -> dict[str, Any]:
        """Return counts, clusters and the most isolated materials as plain values."""
        drawn = self.materials
        return {
            "out": None if self.out is None else str(self.out),
            "n": drawn.n_known,
            "n_over": len(drawn.ids) - drawn.n_known,
            "n_left_out": self.n_left_out,
            "colour": drawn.colour,
            "clusters": self.clusters,
            "in_no_cluster": int((drawn.cluster[: drawn.n_known] < 0).sum()),
            "most_isolated": self.most_isolated,
            "candidates_outside": int(drawn.outlier[drawn.n_known :].sum()),
            **self.settings,
        }


def materials_map(
    data: Any,  # noqa: ANN401 - a path, or several pymatgen structures
    *,
    out: str | Path | None = None,
    over: Sequence[Any] = (),
    colour: str | None = None,
    embedding: Kind | None = None,
    method: Method | None = None,
    clusters: Clusters | None = None,
    n_clusters: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> MapResult:
    """Map materials on a plane, similar ones close together, and find clusters and outliers.

    >>> materials_map("mp20.csv.gz", over=["run"], colour="band_gap").to_pandas()  # doctest: +SKIP

    Args:
        data: file, folder or table of crystals, folder that a command wrote, CSV of formulas, or pymatgen
            structures.
        out: folder for ``map.png``, ``map.html``, ``map.csv``, ``clusters.csv`` and ``run.json``. CHGNet's
            embeddings are kept there, so that another map of the same data takes seconds.
        over: candidates, of the same kinds, placed on the map; only the data decide axes and clusters.
        colour: column to colour by; default: the first known property that the data have, or the only
            numerical column.
        embedding: ``chgnet``, ``composition`` or ``crystal-vae``; default: ``chgnet`` for crystals,
            ``composition`` for formulas.
        method: ``umap`` or ``pca``; default: ``umap`` where umap-learn is installed.
        clusters: ``hdbscan`` (on the plane) or ``kmeans`` (in the space of the embedding); default:
            ``hdbscan`` on a UMAP plane, ``kmeans`` otherwise.
        n_clusters: of k-means; default: 8.
        limit: take only so many of the data, drawn at random.
        seed: of that draw, UMAP and k-means.
        workers: processes; default: one per core.
        progress: receives the share done and a message.

    Returns:
        Points, clusters and the most isolated materials.

    Raises:
        InputError: something cannot be read or embedded, an option is unknown, the data have no such column,
            fewer than 10 materials are left, or ``out`` holds other files.
    """
    check_least(1, workers=workers, limit=limit, n_clusters=n_clusters)
    kind = _kind(data, over, embedding)
    method = _choice("method", method or _default_method(), METHODS)
    clusters = _choice("clusters", clusters or ("hdbscan" if method == "umap" else "kmeans"), CLUSTERS)
    if n_clusters is not None and clusters == "hdbscan":
        raise InputError(
            "n_clusters: hdbscan finds their number itself; leave it out, or take clusters kmeans."
        )
    out = None if out is None else Path(out)
    with nullcontext() if out is None else locked_folder(out, (CACHE, PNG)):
        cache = out / CACHE if out else None
        known, candidates = _embedded(
            data, over, kind, cache, limit=limit, seed=seed, workers=workers, progress=progress
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
        left_out = [*known.left_out, *candidates.left_out]
        described = cluster_rows(drawn, known.kept)
        settings = {"embedding": kind, "method": method, "clusters_by": clusters}
        result = MapResult(drawn, settings, described, _most_isolated(drawn), len(left_out), out)
        if out is not None:
            progress(0.9, "drawing")
            _write(drawn, described, left_out, out)
            named = {"data": str(data), "over": [str(path) for path in over], **settings}
            named["clusters"] = named.pop("clusters_by")
            named |= {"n_clusters": n_clusters, "limit": limit, "seed": seed}
            write_run_json(out, {"map": named, "materials": drawn.n_known})
        progress(1.0, "done" if out is None else f"written to {out}")
    return result


def _kind(data: Any, over: Sequence[Any], asked: Kind | None) -> Kind:  # noqa: ANN401 - as in materials_map
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
    data: Any,  # noqa: ANN401 - as in materials_map
    over: Sequence[Any],
    kind: Kind,
    cache: Path | None,
    *,
    limit: int | None,
    seed: int,
    workers: int | None,
    progress: Progress,
) -> tuple[Materials, Materials]:
    candidates, readable = Materials([], []), []
    for source in over:
        try:
            if isinstance(source, str | Path) and not is_formula_table(source):
                next(read_entries(source), None)
            readable.append(source)
        except InputError as error:
            candidates.left_out.append((str(source), str(error)))
    if over and not readable:  # before the data are embedded, which takes long
        raise InputError(candidates.left_out[0][1])
    known = embed(
        data,
        kind,
        cache=cache,
        limit=limit,
        seed=seed,
        workers=workers,
        progress=lambda share, message: progress(0.6 * share, message),
    )
    if len(known.kept) < FEWEST:
        raise InputError(f"data: only {len(known.kept)} materials can be embedded; give {FEWEST} or more.")
    for source in readable:
        try:
            found = embed(
                source,
                kind,
                cache=cache,
                workers=workers,
                progress=lambda _, message: progress(0.65, message),
            )
        except InputError as error:
            candidates.left_out.append((str(source), str(error)))
            continue
        candidates.kept += found.kept
        candidates.left_out += found.left_out
    return known, candidates


def _colour(asked: str | None, known: Materials, data: Any) -> str:  # noqa: ANN401 - as in materials_map
    columns = sorted({name for material in known.kept for name in material.properties})
    if asked is None:
        only = columns[0] if len(columns) == 1 else ""
        return next((name for name in PROPERTIES if name in columns), only)
    if asked not in columns:
        raise InputError(
            f"color: {data if isinstance(data, str | Path) else 'the data'} has no numbers called {asked!r}; "
            f"it has {', '.join(columns) or 'none'}."
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
    """Project standardised rows on the principal axes of the first ``n``; also return the shares of variance.

    Unknown values (nan) count as the mean. The longer side of each axis is positive, so that a map does not
    flip.
    """
    known = rows[:n].astype(np.float64)
    std = np.nanstd(known, axis=0)
    scaled = (rows - np.nanmean(known, axis=0)) / np.where(std > 1e-9, std, 1.0)
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
    rows, k = space.astype(np.float32), min(NEIGHBORS, len(space) - 1)
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


def _write(drawn: Map, clusters: list[dict[str, Any]], left_out: list[tuple[str, str]], out: Path) -> None:
    write_csv(out / TABLE, map_rows(drawn))
    write_csv(out / CLUSTER_TABLE, clusters, ("cluster", "n"))
    (out / LEFT_OUT).unlink(missing_ok=True)
    if left_out:
        write_csv(out / LEFT_OUT, [{"id": name, "reason": reason} for name, reason in left_out])
    draw_png(drawn, out / PNG)
    draw_html(drawn, out / HTML)


def _most_isolated(drawn: Map) -> list[dict[str, Any]]:
    order = np.argsort(-drawn.isolation[: drawn.n_known], kind="stable")[:10]
    return [
        {"id": drawn.ids[i], "formula": drawn.formulas[i], "outlier_score": round(drawn.isolation[i], 2)}
        for i in order.tolist()
    ]


def cluster_rows(drawn: Map, known: list[Material]) -> list[dict[str, Any]]:
    """Describe each cluster: size, commonest elements, median of the property, most typical material."""
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
