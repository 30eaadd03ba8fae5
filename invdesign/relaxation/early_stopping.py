"""When to give up a relaxation: its energy will almost surely stay above what is of use.

While a crystal relaxes, its energy can still fall by more the further it is from a minimum. The rule bounds
that remaining drop by a linear function of what the optimiser knows, fitted so that hardly any relaxation
of a real generated crystal ever falls by more (``training/early_stopping.py``; the artifact's card has
what it saves and what it loses).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from invdesign.errors import InputError
from invdesign.io import artifacts

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

FILE = "rule.json"


class Progress(NamedTuple):
    """Where a relaxation stands.

    Attributes:
        n_steps: steps tried.
        energy: eV/atom; under pressure the enthalpy.
        fmax: eV/Å.
        predicted_drop: eV/atom to the minimum of the optimiser's model.
        last_drop: eV/atom by which the last accepted step went down; 0 before the first.
    """

    n_steps: int
    energy: float
    fmax: float
    predicted_drop: float
    last_drop: float


@dataclass(frozen=True, slots=True)
class AbandonmentRule:
    """Bound of the remaining drop in energy, in eV/atom.

    Attributes:
        potential: name of the potential that it was fitted for.
        first_step: steps before which nothing is given up.
        constant: eV/atom.
        by_fmax: eV/atom per eV/Å.
        by_predicted_drop, by_last_drop: eV/atom per eV/atom.
    """

    potential: str
    first_step: int
    constant: float
    by_fmax: float
    by_predicted_drop: float
    by_last_drop: float

    @classmethod
    def of(cls, potential: str) -> Self | None:
        """The released rule of a potential, if there is one."""
        name = f"abandonment-{potential}"
        return cls.load(name) if (artifacts.root("validators") / name).is_dir() else None

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Load a rule: a released one's name (``abandonment-chgnet-0.3.0``), or a folder.

        Raises:
            InputError: there is none, or the file is broken.
        """
        path = artifacts.find("validators", name, needs=(FILE,)) / FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"abandonment: {path} is broken ({error}); restore it or rebuild it with `invdesign train`."
            ) from error

    def save(self, folder: Path) -> None:
        """Write ``rule.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def remaining(self, progress: Progress) -> float:
        """Most that the energy can still fall, eV/atom."""
        return (
            self.constant
            + self.by_fmax * progress.fmax
            + self.by_predicted_drop * progress.predicted_drop
            + self.by_last_drop * max(progress.last_drop, 0.0)
        )

    def hopeless(self, progress: Progress, ceiling: float) -> str | None:
        """Why a relaxation is to be given up, or None.

        Args:
            progress: where it stands.
            ceiling: eV/atom above which its energy is of no use.
        """
        if progress.n_steps < self.first_step:
            return None
        excess = progress.energy - self.remaining(progress) - ceiling
        return f"it would end at least {excess:.2f} eV/atom too high" if excess > 0 else None
