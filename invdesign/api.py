"""The commands that propose crystals, from Python: the same functions, returning objects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.campaign import CampaignConfig, Components
from invdesign.campaign import design as run_campaign
from invdesign.campaign.stages.generate import GENES_PER_FORMULA, meetable
from invdesign.core.target import Target, parse_target
from invdesign.errors import InputError
from invdesign.io.config import build, read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Executor

    from invdesign.campaign import CampaignResult
    from invdesign.campaign.active_learning.round import Round
    from invdesign.core.candidate import Candidate

CONDITIONS = frozenset({"elements", "only", "exclude", "formula", "anonymous", "space_group", "n_atoms"})


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
    """Propose new crystals for a target, relaxed, placed on the hull, and ranked.

    >>> result = design("band_gap=1.5±0.25", out="run", elements="O", exclude="Pb,Cd")  # doctest: +SKIP
    >>> for candidate in result.shortlist:  # doctest: +SKIP
    ...     print(candidate.structure.reduced_formula, candidate.properties["band_gap"].value)

    Args:
        target: clauses of the target language (``docs/guide/targets.md``), or a Target.
        config: campaign as YAML; the target adds to the file's, options replace its fields.
        from_: formulas to make structures of: a screening's folder, its table, or any table or list; of
            these the likeliest, one for every 32 genes.
        components: own objects in place of the released models and reference data.
        executor: takes the relaxations (default: one process per core).
        progress: show the live funnel on stderr.
        options: ``elements, only, exclude, formula, anonymous, space_group, n_atoms`` of the target
            (:func:`invdesign.core.target.parse_target`); all others are fields of
            :class:`invdesign.campaign.CampaignConfig`, such as ``out``, ``n_genes``, ``n_relax``, ``seed``.

    Returns:
        The result: ``shortlist`` of candidates with pymatgen ``structure``, ``verdicts``, ``properties``.

    Raises:
        InputError: the target, an option or a part cannot be used.
    """
    conditions = {name: options.pop(name) for name in CONDITIONS & options.keys()}
    fields = {} if config is None else read_yaml(config)
    clauses = _clauses(target)
    if "target" in fields:
        clauses = [str(build(CampaignConfig, {"target": fields["target"]}, "campaign").target), *clauses]
    fields |= {"target": parse_target(clauses, **conditions), **options}
    campaign = build(CampaignConfig, fields, "campaign")
    if from_ is not None:
        campaign, told = _of_formulas(campaign, from_, components or Components.from_config(campaign))
        if progress:
            print(told, file=sys.stderr)  # noqa: T201 - as the live funnel
    return run_campaign(campaign, components=components, executor=executor, progress=progress)


def _of_formulas(
    config: CampaignConfig, path: str | Path, components: Components
) -> tuple[CampaignConfig, str]:
    """The campaign with formulas, and a line on how many there are of how many.

    Raises:
        InputError: none can be taken on.
    """
    from invdesign.screening.select import survivors

    config.target.check_open()
    found = survivors(
        path,
        config.target,
        max(1, config.n_genes // GENES_PER_FORMULA),
        elements=components.elements,
        known=config.known,
        include_known=config.include_known,
    )
    generators = {name: components.generator_called(name) for name in components.generators}
    formulas, unmet = meetable(generators, config.target, found.formulas, config.seed)
    reasons = {**found.left_out, **unmet}
    left_out = ", ".join(f"{reason}: {n:,}" for reason, n in reasons.items())
    if not formulas:
        raise InputError(
            f"from: {path} has no formula that can be taken on among {found.rows:,} rows"
            f"{f' ({left_out})' if left_out else ''}; give others"
            f"{' or include known ones' if 'known' in reasons else ''}."
        )
    told = f"{len(formulas):,} formula{'s' * (len(formulas) > 1)} of {found.rows:,} rows"
    fields = {**dict(config), "formulas": tuple(formulas)}
    return build(CampaignConfig, fields, "campaign"), f"{told}{f'; left out: {left_out}' if left_out else ''}"


def next_round(run: str | Path, *, progress: bool = False, **options: Any) -> Round:  # noqa: ANN401 - each its own
    """Choose what to compute next in a finished campaign that has DFT results; writes ``run/round-2``, ….

    >>> chosen = next_round("run", choose="hits", n_shortlist=10)  # doctest: +SKIP
    >>> chosen.learned.lines()  # doctest: +SKIP
    ['Band gap: 12 results; predictions shifted by +0.31 eV, intervals × 1.20; …']

    Args:
        run: the campaign's folder.
        progress: show the live funnel on stderr.
        options: ``choose`` (``hits`` or ``information``), ``n_shortlist``, ``n_genes``, ``n_relax``,
            ``components``, ``executor``, ``workers``:
            :func:`invdesign.campaign.active_learning.round.next_round`.

    Returns:
        The round: ``shortlist`` with corrected ``properties``, ``learned``, ``message``.

    Raises:
        InputError: no campaign, no results, or nothing left to choose.
    """
    from invdesign.campaign.active_learning.round import next_round as choose_next

    return choose_next(Path(run), progress=progress, **options)


def generate(
    target: str | Iterable[str] | Target = (),
    n: int = 20,
    *,
    generator: str = "gene-diffusion",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    structures: bool = True,
    include_known: bool = False,
    draws: int | None = None,
    out: Path | str | None = None,
    workers: int | None = None,
    progress: Callable[[float, str], None] = lambda _share, _message: None,
    **conditions: Any,  # noqa: ANN401 - each condition has its own type
) -> list[Candidate]:
    """Propose crystals: what a generator makes of a target, before any relaxation.

    Args:
        target: clauses of the target language, or a Target; elements, formula, space group and atoms are
            always kept.
        n: how many.
        generator: ``gene-diffusion``, ``crystal-vae``, ``ion-exchange``, ``prototypes``, or a folder.
        options: of the generator: ``guidance`` (a number, or numbers by condition), ``temperature``.
        seed: the same seed gives the same.
        structures: give each a first geometry, not relaxed; False: genes alone.
        include_known: let genes of known composition be. Else others are drawn in their place, unless the
            target is a formula.
        draws: genes drawn for each proposal, of which the quick rank takes the likeliest hits; 1: as drawn.
            Default: 8 where the target has a window on a property, else 1.
        out: folder for a table, an extxyz, a CIF each and ``run.json``.
        workers: processes; default one per core.
        progress: is told the share that is done and a word on it.
        conditions: keywords of :func:`invdesign.core.target.parse_target`.

    Returns:
        Exactly ``n`` candidates with ``gene``, and ``structure`` if asked for.

    Raises:
        InputError: the target, the generator, an option or the folder cannot be used.
    """
    from invdesign.analysis.generate import generate as run

    return run(
        parse_target(_clauses(target), **conditions),
        n,
        generator=generator,
        options=options,
        seed=seed,
        structures=structures,
        include_known=include_known,
        draws=draws,
        out=None if out is None else Path(out),
        workers=workers,
        progress=progress,
    )


def _clauses(target: str | Iterable[str] | Target) -> list[str]:
    return [str(target)] if isinstance(target, str | Target) else list(target)
