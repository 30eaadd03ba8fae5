"""The main job from Python: what ``invdesign design`` does, returned as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invdesign.campaign import CampaignConfig
from invdesign.campaign import design as run_campaign
from invdesign.configs import build
from invdesign.targets import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor
    from pathlib import Path

    from invdesign.campaign import CampaignResult, Parts

TARGET_OPTIONS = frozenset({"elements", "only", "exclude", "formula", "anonymous", "space_group", "n_atoms"})


def design(
    target: str | Iterable[str] | Target = (),
    *,
    out: str | Path = "run",
    parts: Parts | None = None,
    executor: Executor | None = None,
    progress: bool = False,
    **options: Any,  # noqa: ANN401 - each field has its own type
) -> CampaignResult:
    """Propose new crystals for a target, relaxed, placed on the hull, and ranked.

    >>> result = design("band_gap=1.5±0.25", out="run", elements="O", exclude="Pb,Cd")  # doctest: +SKIP
    >>> for candidate in result.shortlist:  # doctest: +SKIP
    ...     print(candidate.structure.reduced_formula, candidate.properties["band_gap"].value)

    Args:
        target: clauses of the target language (``docs/targets.md``), or a Target.
        out: folder of the output files; the same call with the same folder resumes.
        parts: own objects in place of the released models and reference data.
        executor: takes the relaxations (default: one process per core).
        progress: show the live funnel on stderr.
        options: ``elements, only, exclude, formula, anonymous, space_group, n_atoms`` of the target
            (:func:`invdesign.targets.parse_target`); all others are fields of
            :class:`invdesign.campaign.CampaignConfig`, such as ``n_genes``, ``n_relax``, ``seed``.

    Returns:
        The result: ``shortlist`` of candidates with pymatgen ``structure``, ``verdicts``, ``properties``.

    Raises:
        InputError: the target, an option or a part cannot be used.
    """
    conditions = {name: options.pop(name) for name in TARGET_OPTIONS & options.keys()}
    clauses = str(target) if isinstance(target, Target) else target
    config = build(
        CampaignConfig, {"target": parse_target(clauses, **conditions), "out": out, **options}, "campaign"
    )
    return run_campaign(config, parts=parts, executor=executor, progress=progress)
