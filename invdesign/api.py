"""Everything that a command does, as one function with the command's name.

``invdesign.design``, ``invdesign.relax``, … are these functions. Each takes and returns pymatgen structures,
and its result has ``to_pandas()``. The module imports nothing heavy: a function is imported when it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.errors import InputError
from invdesign.io.progress import Progress, no_progress
from invdesign.io.tables import Tabular

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from invdesign.campaign import CampaignConfig, CampaignResult, Components
    from invdesign.core.target import Target

HOMES = {
    "InputError": "invdesign.errors:InputError",
    "Target": "invdesign.core.target:Target",
    "parse_target": "invdesign.core.target:parse_target",
    "generate": "invdesign.analysis.generate:generate",
    "relax": "invdesign.analysis.relax_files:relax",
    "hull": "invdesign.analysis.hull_placement:hull",
    "predict": "invdesign.analysis.predict_files:predict",
    "predict_structure": "invdesign.analysis.structure_prediction.run:predict_structure",
    "evaluate": "invdesign.analysis.evaluate.run:evaluate",
    "explain": "invdesign.analysis.explain_files:explain",
    "materials_map": "invdesign.analysis.materials_map:materials_map",
    "latent": "invdesign.analysis.latent",
    "next_round": "invdesign.campaign.active_learning.round:next_round",
    "screen": "invdesign.screening.api:screen",
    "dft": "invdesign.dft",
}
"""Where the functions live that are not in this module, as ``module:attribute``; or a module of several."""

CONDITIONS = frozenset(
    ("elements", "only", "exclude", "formula", "anonymous", "space_group", "n_atoms", "dimensionality")
)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each attribute has its own type
    if name not in HOMES:
        raise AttributeError(f"module 'invdesign' has no attribute {name!r}")
    module, _, attribute = HOMES[name].partition(":")
    return getattr(import_module(module), attribute) if attribute else import_module(module)


def design(
    target: str | Iterable[str] | Target = (),
    *,
    config: str | Path | None = None,
    from_: str | Path | None = None,
    components: Components | None = None,
    executor: Executor | None = None,
    progress: bool = False,
    **options: Any,  # noqa: ANN401 - each field has its own type
) -> CampaignResult:
    """Design new crystals for a target: generated, relaxed, placed on the hull, and ranked.

    >>> result = design("band_gap=1.5±0.25", out="run", elements="O", exclude="Pb,Cd")  # doctest: +SKIP
    >>> for candidate in result.shortlist:  # doctest: +SKIP
    ...     print(candidate.structure.reduced_formula, candidate.properties["band_gap"].value)

    Args:
        target: clauses of the target language (``docs/guide/targets.md``), or a Target.
        config: campaign as YAML; the target adds to the target of the file, options replace its fields.
        from_: formulas to make structures of: folder or table of a screening, or any table or list. The
            likeliest are used, one per 32 genes.
        components: custom objects in place of the released models and reference data.
        executor: runs the relaxations (default: one process per core).
        progress: show the live funnel on stderr.
        options: ``elements, only, exclude, formula, anonymous, space_group, n_atoms, dimensionality``
            of the target (:func:`invdesign.parse_target`); all others are fields of
            :class:`invdesign.campaign.CampaignConfig`, such as ``out``, ``n_genes``, ``n_relax``, ``seed``.

    Returns:
        The result: ``shortlist`` of candidates with pymatgen ``structure``, ``verdicts``, ``properties``.

    Raises:
        InputError: the target, an option or a component cannot be used.
    """
    from invdesign.campaign import CampaignConfig, Components
    from invdesign.campaign import design as run_campaign
    from invdesign.core.target import Target, parse_target
    from invdesign.io.config import build, read_yaml

    conditions = {name: options.pop(name) for name in CONDITIONS & options.keys()}
    fields = {} if config is None else read_yaml(config)
    clauses = [str(target)] if isinstance(target, str | Target) else list(target)
    if "target" in fields:
        clauses = [str(build(CampaignConfig, {"target": fields["target"]}, "campaign").target), *clauses]
    fields |= {"target": parse_target(clauses, **conditions), **options}
    campaign = build(CampaignConfig, fields, "campaign")
    if from_ is not None:
        campaign, summary = _with_formulas(campaign, from_, Components.of(campaign, components))
        if progress:
            print(summary, file=sys.stderr)  # noqa: T201 - as the live funnel
    return run_campaign(campaign, components=components, executor=executor, progress=progress)


def _with_formulas(
    config: CampaignConfig, path: str | Path, components: Components
) -> tuple[CampaignConfig, str]:
    """Return the campaign with the likeliest formulas of a file, and a line on how many were taken.

    Raises:
        InputError: none can be used.
    """
    from invdesign.campaign import CampaignConfig
    from invdesign.campaign.stages.generate import GENES_PER_FORMULA, meetable
    from invdesign.io.config import build
    from invdesign.screening.select import select_likeliest

    config.target.check_open()
    found = select_likeliest(
        path,
        config.target,
        max(1, config.n_genes // GENES_PER_FORMULA),
        elements=components.elements,
        known=config.known,
        novelty=config.novelty,
    )
    generators = {name: components.generator_called(name) for name in components.generators}
    formulas, unmet = meetable(generators, config.target, found.formulas, config.seed)
    reasons = {**found.left_out, **unmet}
    left_out = ", ".join(f"{reason}: {n:,}" for reason, n in reasons.items())
    if not formulas:
        raise InputError(
            f"from: {path} has no usable formula among {found.rows:,} rows"
            f"{f' ({left_out})' if left_out else ''}; give others"
            f"{' or --novelty any' if {'known', 'not known'} & reasons.keys() else ''}."
        )
    summary = f"{len(formulas):,} formula{'s' * (len(formulas) > 1)} of {found.rows:,} rows"
    fields = {**dict(config), "formulas": tuple(formulas)}
    return build(
        CampaignConfig, fields, "campaign"
    ), f"{summary}{f'; left out: {left_out}' if left_out else ''}"


class TrainedModel(Tabular):
    """An artifact that was trained or built.

    Attributes:
        folder: of the artifact.
        summary: of a model from a few examples: ``metric``, learning ``curve``, ``warnings``, ``notes``.
        text: the same for people.
    """

    def __init__(self, folder: Path, summary: dict[str, Any] | None = None, text: str = "") -> None:
        self.folder = folder
        self.summary = summary or {"folder": str(folder)}
        self.text = text or f"Built {folder}."

    def __repr__(self) -> str:
        """Return the folder."""
        return f"<trained model in {self.folder}>"

    def rows(self) -> list[dict[str, Any]]:
        """Return the learning curve of a model from a few examples, else one row with the folder."""
        return self.summary.get("curve") or [self.summary]


def train(
    config: str | Path | None = None,
    *,
    from_: str | Path | None = None,
    data: str | Path | None = None,
    column: str | None = None,
    unit: str = "",
    log10: bool = False,
    out: str | Path | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> TrainedModel:
    """Train a model or build a reference table from its recipe; or train a model on a few examples.

    >>> train("configs/predictors/band-gap.yaml").folder  # doctest: +SKIP
    >>> train(from_="models/elasticity", data="hardness.csv", unit="GPa", log10=True, out="hardness")
    ... # doctest: +SKIP

    Args:
        config: recipe, such as those in ``configs/``.
        from_: in place of a recipe, the released property model to start from.
        data: 10 to 1 000 crystals or formulas with the property.
        column: the property; may be left out where only one column can be meant.
        unit: of the property.
        log10: learn the logarithm.
        out: folder of the model from examples.
        seed: of cross-validation.
        progress: receives the share done and a message.

    Returns:
        The folder of the artifact, and the learning curve of a model from examples.

    Raises:
        InputError: neither a recipe nor all of ``from_``, ``data`` and ``out``, or one cannot be used.
    """
    from invdesign.training import registry

    if from_ is None and data is None:
        if config is None:
            raise InputError(
                "train: nothing given; name a recipe of configs/, or --from MODEL --data FILE --out FOLDER."
            )
        return TrainedModel(registry.train(Path(config), progress=progress))
    if config is not None or from_ is None or data is None or out is None:
        raise InputError(
            "train: give a recipe, or all of --from MODEL, --data FILE and --out FOLDER and no recipe."
        )
    from invdesign.training.predictors.transfer import printed, summary

    options = {"column": column, "unit": unit, "log10": log10, "seed": seed}
    outcome = registry.train_from(str(from_), Path(data), Path(out), progress=progress, **options)  # type: ignore[arg-type]
    return TrainedModel(outcome.folder, summary(outcome), printed(outcome))
