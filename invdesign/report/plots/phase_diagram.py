"""Phase diagrams of two to four elements: a picture (PNG) and a page to turn and point at (HTML)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.report.plots.canvas import BLUE, FAINT, INK, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

_Point: TypeAlias = tuple[float, ...]

MAX_ELEMENTS = 4
NEAR = 0.2  # eV/atom; phases further above the hull are left out, they would only clutter
NAMED = {2: 10, 3: 14, 4: 8}  # compounds that have room for their names; more are numbered, with a key
MARKED = 8  # candidates that are named, the lowest; the others are points
KEY_ROWS = {2: 36, 3: 36, 4: 16}  # compounds that are named at all, those nearest to the candidates
REACHES = (9.0, 24.0, 42.0, 64.0, 90.0)  # pixels from a point to its label
TURNS = (0.0, 0.5, -0.5, 1.0, -1.0, 1.6, -1.6, 2.2, -2.2, 3.1)  # radians from the first direction
STABLE, UNSTABLE, ABOVE, BELOW = BLUE, "#b9c4ca", "#d9622b", "#2a8f4d"


@dataclass(frozen=True, slots=True)
class Mark:
    """A candidate in the diagram.

    Attributes:
        label: its name.
        composition: of the diagram's elements.
        energy: formation energy, eV/atom.
        e_above_hull: eV/atom.
    """

    label: str
    composition: Composition
    energy: float
    e_above_hull: float

    @property
    def colour(self) -> str:
        """Whether it lies above the hull, or on and below it."""
        return ABOVE if self.e_above_hull > 1e-3 else BELOW

    @property
    def words(self) -> str:
        """Return the name and the energy above hull."""
        return f"{self.label}  {self.e_above_hull:+.3f}"


def check_target(plot: Path, compositions: Sequence[Composition]) -> None:
    """See that diagrams of some compositions' chemical systems fit where they shall go.

    Raises:
        InputError: several systems, one file.
    """
    n_systems = len({composition.chemical_system for composition in compositions})
    if _is_file(plot) and n_systems > 1:
        raise InputError(
            f"plot: {plot} is one file, but there are {n_systems} chemical systems; give a folder."
        )


def draw_systems(
    marks: Sequence[Mark],
    phases: Callable[[Sequence[str]], Sequence[tuple[str, float]]],
    plot: Path,
    source: str,
) -> tuple[list[Path], list[str]]:
    """One diagram per chemical system.

    Args:
        marks: candidates, of any systems.
        phases: gives formula and formation energy (eV/atom) of the compounds of some elements.
        plot: one ``.png`` or ``.html``, or a folder for both of each system.
        source: name of the hull.

    Returns:
        The files written, and a sentence on each system that has no diagram.
    """
    systems: dict[str, list[Mark]] = {}
    for mark in marks:
        systems.setdefault(mark.composition.chemical_system, []).append(mark)
    files: list[Path] = []
    notes: list[str] = []
    for system, members in systems.items():
        symbols = system.split("-")
        if not 2 <= len(symbols) <= MAX_ELEMENTS:
            count = "1 element" if len(symbols) == 1 else f"{len(symbols)} elements"
            notes.append(f"plot: {system} has {count}; diagrams are drawn for 2 to {MAX_ELEMENTS}.")
            continue
        if not _is_file(plot):
            plot.mkdir(parents=True, exist_ok=True)
        diagram = diagram_of(symbols, phases(symbols), source)
        for path in [plot] if _is_file(plot) else [plot / f"{system}.png", plot / f"{system}.html"]:
            draw = draw_png if path.suffix.lower() == ".png" else draw_html
            draw(diagram, members, path, title=f"{system} ({source})")
            files.append(path)
    return files, notes


def _is_file(plot: Path) -> bool:
    return plot.suffix.lower() in {".png", ".html"}


def diagram_of(
    elements: Sequence[str], phases: Sequence[tuple[str, float]], source: str = "hull"
) -> PhaseDiagram:
    """Return the phase diagram of a chemical system.

    Args:
        elements: two to four symbols.
        phases: formula and formation energy (eV/atom) of each compound; the elements are at 0.
        source: name of the hull, shown where one points at a phase.
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition, Element

    entries: list[Any] = [PDEntry(Composition({symbol: 1}), 0.0, name=symbol) for symbol in elements]
    for formula, energy in phases:
        composition = Composition(formula)
        entries.append(PDEntry(composition, energy * composition.num_atoms, name=formula))
    for entry in entries:
        entry.entry_id = source  # pymatgen shows it, where an entry has one
    return PhaseDiagram(entries, elements=[Element(symbol) for symbol in elements])


def draw_png(diagram: PhaseDiagram, marks: Sequence[Mark], path: Path, *, title: str) -> None:
    """Draw the diagram: phases on the hull and tie lines, those up to 0.2 eV/atom above it, candidates."""
    from pymatgen.analysis.phase_diagram import PDPlotter

    lines, stable, unstable = PDPlotter(diagram, show_unstable=NEAR, backend="matplotlib").pd_plot_data
    dimension = len(diagram.elements)
    compounds = _nearest([(at, entry) for at, entry in stable.items() if not entry.is_element], marks)
    numbered = len(compounds) > NAMED[dimension]
    figure = new_figure(11.2 if numbered else 8.6, 7.6)
    width = 8.6 / figure.get_figwidth()
    left, bottom = (0.11, 0.1) if dimension == 2 else (0.04, 0.03)
    box = (left * width, bottom, (0.97 - left) * width, 0.9 - bottom)
    axes: Any = figure.add_axes(box, projection="3d" if dimension == MAX_ELEMENTS else None)
    figure.text(0.02, 0.975, title, fontsize=13, weight="bold", color=INK, va="top")
    thin = {"linewidth": 0.6, "alpha": 0.3} if dimension == MAX_ELEMENTS else {"linewidth": 1.2, "alpha": 0.8}
    for line in lines:
        axes.plot(*line, "-", color=STABLE, zorder=2, **thin)
    near = [at for entry, at in unstable.items() if (diagram.get_e_above_hull(entry) or 0) < NEAR]
    if near:
        axes.plot(*zip(*near, strict=True), "s", color=UNSTABLE, markersize=4, linestyle="none", zorder=1)
    axes.plot(*zip(*stable, strict=True), "o", color=STABLE, markersize=5, linestyle="none", zorder=3)
    points = [_coordinates(diagram, mark) for mark in marks]
    _draw_marks(axes, marks, points)
    if dimension == 2:
        _frame_binary(axes, diagram, [at[1] for at in stable], [at[1] for at in points])
    else:
        axes.set_axis_off()
        axes.set_aspect("equal")
    if dimension == MAX_ELEMENTS:
        _frame_tetrahedron(axes, [at for at, entry in stable.items() if entry.is_element])
    names = [str(i) for i in range(1, len(compounds) + 1)]
    if not numbered:
        names = [_subscripts(entry.name) for _, entry in compounds]
    else:
        n_more = len(stable) - len(diagram.elements) - len(compounds)
        _draw_key(figure, diagram, [entry for _, entry in compounds], n_more, width)
    labels = [(entry.name, at, 15) for at, entry in stable.items() if entry.is_element]
    labels += [(name, at, 9) for name, (at, _) in zip(names, compounds, strict=True)]
    _label(axes, labels, [*stable, *points])
    write_png(figure, path)


def draw_html(diagram: PhaseDiagram, marks: Sequence[Mark], path: Path, *, title: str) -> None:
    """Write the diagram as one page that works offline (4 MB: it holds plotly)."""
    from pymatgen.analysis.phase_diagram import PDPlotter

    plotter = PDPlotter(diagram, show_unstable=NEAR, backend="plotly")
    figure: Any = plotter.get_plot()
    symbols = [element.symbol for element in diagram.elements]
    for mark in marks:
        style: dict[str, Any] = {
            "mode": "markers",
            "marker": {"symbol": "diamond", "size": 13, "color": mark.colour, "line": {"width": 1}},
            "name": f"{mark.label} ({mark.e_above_hull:+.3f} eV/atom)",
            "hovertext": f"{mark.label}<br>formation energy {mark.energy:.3f} eV/atom"
            f"<br>{mark.e_above_hull:+.3f} eV/atom from the hull",
            "hoverinfo": "text",
        }
        if len(symbols) == 3:
            a, b, c = ([mark.composition.get_atomic_fraction(symbol)] for symbol in symbols)
            figure.add_scatterternary(a=a, b=b, c=c, **style)
        elif len(symbols) == 2:
            x, y = _coordinates(diagram, mark)
            figure.add_scatter(x=[x], y=[y], **style)
        else:
            x, y, z = _coordinates(diagram, mark)
            style["marker"]["size"] = 8
            figure.add_scatter3d(x=[x], y=[y], z=[z], **style)
    figure.update_layout(title=title, autosize=True, width=None, height=None)
    with atomic_write(path) as draft:
        figure.write_html(draft, include_plotlyjs=True)


def _coordinates(diagram: PhaseDiagram, mark: Mark) -> tuple[float, ...]:
    """Where a candidate lies in pymatgen's plots."""
    from pymatgen.analysis.phase_diagram import tet_coord, triangular_coord

    fractions = diagram.pd_coords(mark.composition)
    if len(fractions) == 1:
        return float(fractions[0]), mark.energy
    project = triangular_coord if len(fractions) == 2 else tet_coord
    return tuple(float(x) for x in project(fractions))


def _subscripts(formula: str) -> str:
    from pymatgen.util.string import latexify

    return latexify(formula)


def _nearest(
    compounds: Sequence[tuple[_Point, PDEntry]], marks: Sequence[Mark]
) -> list[tuple[_Point, PDEntry]]:
    """Return the compounds that are named: those nearest in composition to a candidate, then by place."""

    def distance(item: tuple[_Point, PDEntry]) -> float:
        composition = item[1].composition
        return min(
            sum(
                abs(composition.get_atomic_fraction(element) - mark.composition.get_atomic_fraction(element))
                for element in {*composition, *mark.composition}
            )
            for mark in marks
        )

    dimension = len(marks[0].composition)
    return sorted(sorted(compounds, key=distance)[: KEY_ROWS[dimension]], key=lambda item: item[0])


def _label(axes: Any, labels: Sequence[tuple[str, _Point, float]], points: Sequence[_Point]) -> None:  # noqa: ANN401
    """Write names next to their points, outward first; overlapping ones go further out, on a line."""
    figure = axes.figure
    figure.draw_without_rendering()  # settles the scales
    flat = _pixels(axes, points)
    taken = [(x, y, 7.0, 7.0) for x, y in flat]
    middle = flat.mean(axis=0)
    for (name, _, size), at in zip(labels, _pixels(axes, [at for _, at, _ in labels]), strict=True):
        text = figure.text(0, 0, name, fontsize=size)
        extent = text.get_window_extent(figure.canvas.get_renderer())
        text.remove()
        half = np.array([extent.width, extent.height]) / 2 + 2
        outward = float(np.arctan2(*(at - middle)[::-1]))
        if size > 12 and len(points[0]) == 2 and axes.axison:  # the elements of a binary: above the line
            outward = np.pi / 2
        centre, reach = _free_place(at, half, outward, taken)
        taken.append((*centre, *half))
        axes.annotate(
            name,
            at,
            xytext=centre,
            xycoords="figure pixels",
            textcoords="figure pixels",
            ha="center",
            va="center",
            fontsize=size,
            weight="bold" if size > 12 else "normal",
            color=INK,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.5} if reach > REACHES[0] else None,
            zorder=7,
            annotation_clip=False,
        )


def _free_place(
    at: np.ndarray, half: np.ndarray, outward: float, taken: Sequence[tuple[float, float, float, float]]
) -> tuple[np.ndarray, float]:
    """Find where a label fits: its centre, and its distance from its point, pixels.

    Args:
        at: the point.
        half: half the label's width and height.
        outward: direction to try first, radians.
        taken: centres and half sizes of what must not be covered.
    """
    for reach in REACHES:
        for turn in TURNS:
            way = np.array([np.cos(outward + turn), np.sin(outward + turn)])
            centre = at + (reach + half) * way
            if not any(
                abs(centre[0] - x) < half[0] + w and abs(centre[1] - y) < half[1] + h for x, y, w, h in taken
            ):
                return centre, reach
    return centre, reach


def _pixels(axes: Any, points: Sequence[_Point]) -> np.ndarray:  # noqa: ANN401 - 2D or 3D axes
    """Points of the diagram on the page, (n, 2) pixels."""
    coordinates = np.array(points, dtype=float)
    if coordinates.shape[1] == 3:
        projected = axes.get_proj() @ np.vstack([coordinates.T, np.ones(len(coordinates))])
        coordinates = (projected[:2] / projected[3]).T
    return np.asarray(axes.transData.transform(coordinates))


def _frame_tetrahedron(axes: Any, corners: Sequence[_Point]) -> None:  # noqa: ANN401 - 3D axes
    from itertools import combinations

    for edge in combinations(corners, 2):
        axes.plot(*zip(*edge, strict=True), "-", color=INK, linewidth=1.2, zorder=2)
    axes.set(xlim=(0, 1), ylim=(0, 0.87), zlim=(0, 0.82))
    axes.set_box_aspect((1, 0.87, 0.82), zoom=1.14)
    axes.view_init(elev=16, azim=-48)


def _draw_marks(axes: Axes, marks: Sequence[Mark], points: Sequence[tuple[float, ...]]) -> None:
    order = sorted(range(len(marks)), key=lambda i: marks[i].e_above_hull)
    for i in order:
        axes.plot(*([x] for x in points[i]), "D", color=marks[i].colour, markersize=8, mec="white", zorder=6)
    if not marks:
        return
    from matplotlib.lines import Line2D

    shown = [
        Line2D([], [], marker="D", linestyle="none", color=marks[i].colour, mec="white", label=marks[i].words)
        for i in order[:MARKED]
    ]
    if len(order) > MARKED:
        shown.append(Line2D([], [], linestyle="none", label=f"and {len(order) - MARKED} more"))
    axes.legend(
        handles=shown,
        title="candidates: eV/atom above the hull",
        loc="upper center" if len(marks[0].composition) == 2 else "upper right",
        fontsize=9,
        title_fontsize=8,
        framealpha=0.9,
        edgecolor=UNSTABLE,
    )


def _frame_binary(axes: Axes, diagram: PhaseDiagram, hull: Sequence[float], marks: Sequence[float]) -> None:
    low, high = min(*hull, *marks, 0.0), max(*marks, 0.0)
    room = 0.12 * (high - low) + 0.02
    axes.set(xlim=(-0.04, 1.04), ylim=(low - room, high + room))
    axes.set_xlabel(f"atomic fraction of {diagram.elements[1]}", fontsize=11, color=INK)
    axes.set_ylabel("formation energy, eV/atom", fontsize=11, color=INK)
    axes.axhline(0, color=UNSTABLE, linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=FAINT)


def _draw_key(
    figure: Figure, diagram: PhaseDiagram, compounds: Sequence[PDEntry], n_more: int, left: float
) -> None:
    """Numbers, names and formation energies of the compounds that are named."""
    rows = ["on the hull, eV/atom"]
    rows += [
        f"{number:>3d}  {_subscripts(entry.name)}  {diagram.get_form_energy_per_atom(entry):.2f}"
        for number, entry in enumerate(compounds, start=1)
    ]
    rows += [f"and {n_more} more, further away"] if n_more else []
    figure.text(left, 0.93, "\n".join(rows), fontsize=8.2, color=INK, va="top", linespacing=1.5)
