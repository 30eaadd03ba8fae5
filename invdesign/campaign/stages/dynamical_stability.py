"""Gates beyond the hull, by potentials: imaginary modes, and a short dynamics at room temperature.

They cost seconds a candidate, so only those are checked that would be shortlisted: the best first, and for
each that fails the next best, until the shortlist holds those alone that passed, or nobody is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import Clock
from invdesign.campaign.session import Session
from invdesign.campaign.stages.shortlist import picked, unrejected
from invdesign.core.candidate import Candidate
from invdesign.core.funnel import CHECKS, Funnel
from invdesign.io.parallel import one_thread, run_tasks
from invdesign.potentials.registry import load_potential
from invdesign.stability import molecular_dynamics, phonons
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.potentials.interface import Potential

DECIDING = ("7net-l3i5", "7net-0", "chgnet")
"""Who decides on modes where the first two potentials disagree: the first that is neither of them."""


@dataclass(frozen=True)
class CheckUnit:
    """A candidate to be checked in one process."""

    config: CampaignConfig
    components: Components
    candidate: Candidate


def require(checks: Sequence[str]) -> None:
    """Check that what the checks need is installed, before anything is done.

    Raises:
        InputError: phonopy is not.
    """
    if "phonons" in checks:
        phonons.require_phonopy()


def check_survivors(session: Session, survivors: Sequence[Candidate]) -> list[Candidate]:
    """Check the survivors that would be shortlisted until those that would be have all passed.

    Every candidate is stored as soon as it is checked.

    Args:
        session: the campaign.
        survivors: distinct, in order of id.

    Returns:
        The same candidates as stored.
    """
    store = session.store
    session.live.count(survivors, session.config.check)
    checked = check_picks(
        session,
        unrejected(survivors),
        partial(picked, session.config),
        lambda candidate, clock: store.put([candidate], clock),
    )
    known = {candidate.id: candidate for candidate in (*survivors, *checked)}
    return list(known.values())


def check_picks(
    session: Session,
    standing: Sequence[Candidate],
    pick: Callable[[list[Candidate]], list[Candidate]],
    keep: Callable[[Candidate, Clock], None],
) -> list[Candidate]:
    """Check the selected candidates, and repeat until only those are selected that passed.

    Those that have their verdicts already are not checked again; a resumed run repeats the same selections.

    Args:
        session: the campaign.
        standing: the candidates.
        pick: selects among some of them.
        keep: stores a candidate, its new verdicts set, and the cost.

    Returns:
        The same candidates, the checked ones with their verdicts.
    """
    known = {candidate.id: candidate for candidate in standing}
    config, live = session.config, session.live
    checked: set[str] = set()
    while True:
        picks = pick([c for c in known.values() if c.alive or c.id not in checked])
        if not (new := [c for c in picks if c.id not in checked]):
            return list(known.values())
        todo = [
            CheckUnit(config, session.components, c) for c in new if not {*config.check} & c.verdicts.keys()
        ]
        live.phase(config.check[0], live.funnel.stages[config.check[0]].entered + len(todo))
        for candidate, clock in run_tasks(check_candidate, todo, workers=1, executor=session.executor):
            keep(candidate, clock)
            live.count([candidate], config.check, clock)
            known[candidate.id] = candidate
        checked |= {candidate.id for candidate in new}


def check_candidate(unit: CheckUnit) -> tuple[Candidate, Clock]:
    """Put a candidate through the checks; the first that it fails is the last."""
    config, candidate, clock = unit.config, unit.candidate, Clock()
    assert candidate.structure is not None  # noqa: S101 - relaxed
    seed = (config.seed, int(candidate.id[1:]))
    with one_thread():
        for gate in config.check:
            with clock.stage(gate):
                verdict = GATE_FUNCTIONS[gate](candidate.structure, unit.components, seed)
            if not candidate.record(verdict):
                break
    return candidate, clock


def no_imaginary_mode(structure: Structure, components: Components, _seed: tuple[int, ...]) -> Verdict:
    """Reject a crystal in which two of three potentials find an imaginary mode.

    The campaign's and the finishing potential are asked first, a third where they disagree. Without a
    finishing potential the campaign's decides.
    """
    first, best = components.get("potential"), components.best().get("potential")
    if first is best:
        return _modes(structure, first)
    verdict = _modes(structure, best, phonons.SOFTEST)
    if _modes(structure, first, phonons.SOFTEST).passed != verdict.passed:
        third = next(name for name in DECIDING if name not in {first.name, best.name})
        return _modes(structure, load_potential(third), phonons.SOFTEST)
    return verdict


def _modes(structure: Structure, potential: Potential, softest: float = np.inf) -> Verdict:
    """Whether the lowest mode lies above the threshold; in soft crystals, above a share of the highest."""
    found = phonons.phonons(structure, potential)
    if isinstance(found, str):
        return Verdict("phonons", passed=False, reason=found, threshold=phonons.THRESHOLD)
    limit = max(phonons.THRESHOLD, -softest * found.highest)
    passed = found.lowest >= limit
    reason = (
        f"{'no imaginary mode' if passed else 'imaginary mode'}: {found.lowest:.2f} THz at "
        f"{phonons.describe_wave_vector(found.at)}, the lowest of {found.n_displacements} displacements of "
        f"{found.n_atoms} atoms, by {potential.name}"
    )
    return Verdict("phonons", passed, reason, found.lowest, limit)


def keeps_bonds(structure: Structure, components: Components, seed: tuple[int, ...]) -> Verdict:
    """Reject a crystal that loses bonds in molecular dynamics at room temperature, by the best potential."""
    found = molecular_dynamics.run_dynamics(structure, components.best().get("potential"), seed)
    limit = molecular_dynamics.LEAST_BONDS
    if isinstance(found, str):
        return Verdict("md", passed=False, reason=found, threshold=limit)
    passed = found.bonds >= limit
    reason = (
        f"{'stable' if passed else 'unstable'} at {molecular_dynamics.TEMPERATURE:.0f} K: "
        f"{found.bonds:.0%} of the bonds are kept, "
        f"the atom that moved most is {found.moved:.2f} Å from its site"
    )
    return Verdict("md", passed, reason, found.bonds, limit)


def summarize_checks(config: CampaignConfig, funnel: Funnel) -> str:
    """Half a sentence on the checks, if there were any."""
    stages = [funnel.stages[gate] for gate in CHECKS if gate in config.check]
    parts = [f"{stage.passed} of {stage.entered} checked passed {stage.name}" for stage in stages]
    return "; " + ", ".join(parts) if parts else ""


GATE_FUNCTIONS: dict[str, Callable[[Structure, Components, tuple[int, ...]], Verdict]] = {
    "phonons": no_imaginary_mode,
    "md": keeps_bonds,
}
"""The checks by name: of a structure, by a campaign's potentials, with a seed."""
