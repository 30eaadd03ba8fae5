"""Small stand-ins for the learned components of a campaign: quick, deterministic, picklable."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from invdesign.campaign import CampaignConfig, Components, design
from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.target import parse_target
from invdesign.crystal.elements import volume_estimate
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.filters.novelty import KnownMaterials, Source
from invdesign.io.parallel import WORKER_ENVIRONMENT
from invdesign.potentials.interface import PotentialOutput, as_frames
from invdesign.training.novelty import Crystal, index

CATIONS = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Al", "Ga", "In", "Cu", "Ag")
ANIONS = ("O", "S", "Se", "F", "Cl", "Br", "I", "N", "P")
PROTOTYPES = ((225, "ab"), (221, "ab"), (216, "ac"), (225, "ca"), (221, "bac"))


def number(*words: object) -> float:
    """A fixed number in [0, 1) for some words."""
    digest = hashlib.sha256(" ".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


@dataclass
class FakeGenerator:
    name: str = "fake"
    anions: tuple[str, ...] = ANIONS

    def propose(self, target, n, seed):
        rng = np.random.default_rng(seed)
        return [Candidate("", self._gene(rng)) for _ in range(n)]

    def _gene(self, rng) -> Gene:
        space_group, letters = PROTOTYPES[rng.integers(len(PROTOTYPES))]
        cations = rng.choice(CATIONS, size=len(letters) - 1, replace=False)
        elements = (*map(str, cations), str(rng.choice(self.anions)))
        return Gene(space_group, tuple(zip(elements, letters, strict=True))).canonical()


class FakeGeometry:
    def propose_many(self, genes, counts, seeds):
        return [self._propose(gene, n) for gene, n, _ in zip(genes, counts, seeds, strict=True)]

    @staticmethod
    def _propose(gene, n):
        cells = {225: 4, 221: 1, 216: 4}[gene.space_group]
        edge = (volume_estimate(gene.composition) * cells) ** (1 / 3)
        free = tuple(() for _ in gene.orbits)
        return [(Geometry((edge, edge, edge, 90.0, 90.0, 90.0), free), "fake")] * n


class FakeKnown(KnownMaterials):
    """Knows NaCl in its own structure and every composition with sodium."""

    def __init__(self):
        salt = Gene.parse("225 Na@a Cl@b")
        geometry = Geometry((5.6, 5.6, 5.6, 90.0, 90.0, 90.0), ((), ()))
        reported = {"band_gap": 5.0, "band_gap_experimental": 8.5, "e_above_hull": 0.0}
        known = index([Crystal(22862, Source.MATERIALS_PROJECT, salt, geometry, reported)])
        super().__init__(**vars(known))

    def known_composition(self, composition):
        return Source.MATERIALS_PROJECT if "Na" in composition else Source(0)


class FakeRanker:
    def predict(self, genes):
        return [
            {
                "e_above_hull": Estimate(0.3 * number(gene, "hull"), 0.1),
                "band_gap": Estimate(3 * number(gene), 0.5),
            }
            for gene in genes
        ]


def worker_variables(_task):
    return {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}


@dataclass
class FakePotential:
    """Forces vanish, the energy follows from the formula; some formulas fail, and time passes."""

    delay: float = 0.0
    name: str = "fake-potential"
    digest: str = ""

    @property
    def elements(self):
        return frozenset((*CATIONS, *ANIONS)) - {"Cd"}

    def evaluate(self, crystals):
        time.sleep(self.delay * len(crystals))
        frames = as_frames(crystals)
        evaluation = PotentialOutput.empty(frames)
        for i, frame in enumerate(frames):
            if number(frame.numbers.tolist(), "fails") < 0.1:
                evaluation.failures[i] = "the fake potential cannot"
                continue
            evaluation.energy[i] = -len(frame) * (1 + number(frame.numbers.tolist()))
            evaluation.forces[i] = np.zeros((len(frame), 3))
            evaluation.stress[i] = np.zeros((3, 3))
        return evaluation


class FakeCalibration:
    potential = "fake-potential"
    digest = ""
    elements = frozenset((*CATIONS, *ANIONS))

    def formation_energy(self, composition, energy, *, hypothetical):
        return energy / composition.num_atoms

    def sigma(self, composition, e_above_hull=0.0):
        return 0.03


@dataclass
class FakePlace:
    e_above_hull: float
    decomposition: dict
    n_phases: int = 5
    composition_known: bool = False


class FakeHull:
    elements = frozenset((*CATIONS, *ANIONS))

    def check_scale(self) -> None:
        pass

    def e_above_hull(self, composition, energy):
        above = 0.0 if composition.reduced_formula == "NaCl" else 0.15 * number(composition, "above")
        return FakePlace(above, {"NaCl": 1.0})


class HullAboveIodides(FakeHull):
    def e_above_hull(self, composition, energy):
        if "I" in composition:
            return FakePlace(0.5, {"NaCl": 1.0})
        return super().e_above_hull(composition, energy)


class FakeGap:
    def predict(self, structures):
        return [Estimate(0.5 + 2 * number(s.composition.reduced_formula, "gap"), 0.3) for s in structures]


class FakeScore:
    def score(self, genes):
        return np.array([number(gene, "score") for gene in genes])


def fake_components(delay: float = 0.0) -> Components:
    return Components(
        generator=FakeGenerator(),
        geometry=FakeGeometry(),
        known=FakeKnown(),
        ranker=FakeRanker(),
        potential=FakePotential(delay),
        calibration=FakeCalibration(),
        hull=FakeHull(),
        predictors={"band_gap": FakeGap()},
        synthesizability=FakeScore(),
    )


def several_components(delay: float = 0.0) -> Components:
    """Two generators of which one's crystals all decompose."""
    generators = (FakeGenerator("any", ANIONS[:5]), FakeGenerator("iodides", ("I",)))
    return replace(fake_components(delay), generator=generators, hull=HullAboveIodides())


def fake_config(out: Path | str, **changes: object) -> CampaignConfig:
    fields = {
        "target": parse_target(["band_gap=1.5±0.25"]),
        "out": Path(out),
        "n_genes": 200,
        "n_relax": 48,
        "gene_batch": 32,
        "relax_chunk": 8,
        "n_shortlist": 6,
        "workers": 1,
    }
    return CampaignConfig(**{**fields, **changes})


def run_forks() -> None:
    """Run a campaign for each line "out workers components" of the input, in a fork that a test may kill.

    Each gives two lines: its process id, and at its end the exit code and the length of the shortlist.
    """
    import multiprocessing

    import campaign_fakes

    def run(out, workers, components):
        config = campaign_fakes.fake_config(out, workers=int(workers))
        parts = getattr(campaign_fakes, components)(delay=0.02)
        return len(design(config, components=parts, progress=False).shortlist)

    with tempfile.TemporaryDirectory() as folder:  # the libraries are imported once, before the first fork
        run(folder, 1, "fake_components")
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda _method: fork  # workers, too
    for line in sys.stdin:
        read, write = os.pipe()
        if not (child := os.fork()):
            os.write(write, str(run(*line.split())).encode())
            os._exit(0)
        os.close(write)
        print(child, flush=True)  # noqa: T201
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), os.read(read, 99).decode(), flush=True)  # noqa: T201
        os.close(read)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    run_forks()
