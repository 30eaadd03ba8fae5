"""The judge of band gaps: matgl's function, its invariances, training that resumes, damaged folders."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from invdesign.core.candidate import Estimate
from invdesign.errors import InputError
from invdesign.io.artifacts import root
from invdesign.potentials.batching import neighbour_pairs
from invdesign.potentials.interface import Frame, frame_of
from invdesign.predictors.graph.model import GraphBandGapPredictor, GraphNetwork, GraphShape, Scales
from invdesign.training.predictors.graph_band_gap import (
    GraphBandGapConfig,
    GraphTable,
    calibrated,
    gap_loss,
    make_trainer,
    scales_of,
)
from invdesign.training.trainer import Trainer

pytest.importorskip("matgl")

ELEMENTS = ("O", "Na", "Mg", "Cl", "Fe", "Cu", "Ba", "Ti")
SHAPE = GraphShape(ELEMENTS, width=8, blocks=2)
RELEASED = "band-gap-evaluator"


class KilledError(Exception):
    pass


def rock_salt(cation: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def metal(symbol: str, group: str, a: float) -> Structure:
    return Structure.from_spacegroup(group, Lattice.cubic(a), [symbol], [[0, 0, 0]])


NACL, MGO = rock_salt("Na", "Cl", 5.69), rock_salt("Mg", "O", 4.25)
COPPER, IRON = metal("Cu", "Fm-3m", 3.62), metal("Fe", "Im-3m", 2.83)
PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(4.0), ["Ba", "Ti", "O"], [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0]]
)


@pytest.fixture(scope="module")
def judge() -> GraphBandGapPredictor:
    torch.manual_seed(0)
    return GraphBandGapPredictor(GraphNetwork(SHAPE), Scales(2.0, 1.5, 0.7, edges=(1.0, 2.0)))


def numbers(estimates: list[Estimate]) -> np.ndarray:
    return np.array([[e.mean, e.sigma, e.p_zero] for e in estimates])


def toy_table(n: int = 48) -> GraphTable:
    """Rock salts, whose gap follows from the elements and the cell, and copper."""
    rng = np.random.default_rng(0)
    cells = [frame_of(crystal.get_primitive_structure()) for crystal in (MGO, NACL, COPPER)]
    frames, gap = [], []
    for k in range(n):
        cell, stretch = cells[k % 3], rng.uniform(0.95, 1.1)
        frames.append(Frame(cell.numbers, stretch * cell.positions, stretch * cell.cell))
        gap.append([4 * stretch, 6 * stretch, 0.0][k % 3])
    part = np.array(["train", "train", "train", "validation", "calibration", "test"])[np.arange(n) // 3 % 6]
    pairs = [neighbour_pairs(frame, SHAPE.cutoff) for frame in frames]
    return GraphTable(frames, pairs, np.array(gap), part, np.full(n, "toy"))


def test_computes_what_matgl_computes(judge: GraphBandGapPredictor) -> None:
    from matgl.ext.pymatgen import Structure2Graph

    converter = Structure2Graph(element_types=ELEMENTS, cutoff=SHAPE.cutoff)
    for structure in (PEROVSKITE, NACL):
        graph, lattice, _ = converter.get_graph(structure)
        graph.pbc_offshift = graph.pbc_offset @ lattice[0]
        graph.pos = graph.frac_coords @ lattice[0]
        with torch.no_grad():
            theirs = judge.network.cpu().m3gnet(graph).numpy()
        ours = judge.raw([frame_of(structure)], {})[0][0]
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_same_answer_for_the_same_crystal(judge: GraphBandGapPredictor) -> None:
    rng = np.random.default_rng(1)
    turned = PEROVSKITE.copy()
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned.lattice = Lattice(turned.lattice.matrix @ rotation)
    permuted = Structure.from_sites([PEROVSKITE[i] for i in rng.permutation(len(PEROVSKITE))])
    shifted = PEROVSKITE.copy().translate_sites(list(range(5)), [0.1, 0.2, 0.3])
    same = [PEROVSKITE, turned, permuted, shifted, PEROVSKITE * (2, 1, 1)]
    found = numbers(judge.predict(same))
    np.testing.assert_allclose(found, np.tile(found[0], (len(same), 1)), rtol=1e-4, atol=1e-5)
    other = numbers(judge.predict([NACL]))
    assert not np.allclose(other, found[0], rtol=1e-3)


def test_in_batches_as_alone(judge: GraphBandGapPredictor) -> None:
    crystals = [NACL, COPPER, PEROVSKITE, IRON]
    together = numbers(judge.predict(crystals))
    alone = np.concatenate([numbers(judge.predict([crystal])) for crystal in crystals])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert judge.predict([]) == []


def test_what_cannot_be_evaluated_is_outside_the_domain(judge: GraphBandGapPredictor) -> None:
    lonely = Structure(Lattice.cubic(12.0), ["Cu"], [[0, 0, 0]])
    unknown = metal("W", "Im-3m", 3.2)
    disordered = Structure(Lattice.cubic(3.6), [{"Cu": 0.5, "Fe": 0.5}], [[0, 0, 0]])
    *failed, sound = judge.predict([lonely, unknown, disordered, COPPER])
    assert sound.in_domain
    for estimate in failed:
        assert not estimate.in_domain
        assert estimate.p_zero == pytest.approx(0.7, abs=1e-3)
        assert (estimate.mean, estimate.sigma) == (pytest.approx(2.0), pytest.approx(1.5))


def test_round_trip_and_damaged_folders(tmp_path: Path, judge: GraphBandGapPredictor) -> None:
    folder = tmp_path / "judge"
    judge.save(folder)
    again = GraphBandGapPredictor.load(folder)
    np.testing.assert_array_equal(
        numbers(again.predict([NACL, COPPER])), numbers(judge.predict([NACL, COPPER]))
    )
    assert again.scales == judge.scales
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"kind": "band-gap"}))
    with pytest.raises(InputError, match="holds a band-gap model"):
        GraphBandGapPredictor.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        GraphBandGapPredictor.load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        GraphBandGapPredictor.load(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"lacks model\.safetensors"):
        GraphBandGapPredictor.load(folder)


def test_without_matgl_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matgl.models", None)
    with pytest.raises(InputError, match=r"pip install 'invdesign\[matgl\]'"):
        GraphBandGapPredictor.load(RELEASED)


@pytest.mark.slow
def test_learns_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    table = toy_table()
    scales = scales_of(table)

    def trained(name: str, killed_after: float = 2.0) -> Trainer[GraphNetwork]:
        def progress(share: float, _: str) -> None:
            if share >= killed_after:
                raise KilledError

        config = GraphBandGapConfig(
            kind="graph-band-gap",
            data=tmp_path,
            start=tmp_path,
            out=tmp_path / name,
            cache=tmp_path,
            epochs=4,
            batch_size=8,
            learning_rate=1e-2,
            ema=0.5,
            metals=0.5,
        )
        torch.manual_seed(0)
        trainer = make_trainer(config, GraphNetwork(SHAPE), scales, table)
        trainer.run(progress)
        return trainer

    whole = trained("whole")
    assert whole.history[-1]["held_out"] < whole.history[0]["held_out"]
    with pytest.raises(KilledError):
        trained("killed", 0.75)
    resumed = trained("killed")
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2, 3]
    for name, value in whole.averaged.state_dict().items():
        torch.testing.assert_close(resumed.averaged.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    judge = calibrated(resumed.averaged, scales, table, 0)
    assert judge.domain is not None
    assert min(judge.scales.intervals) > 0


def test_metals_that_an_epoch_leaves_out_are_made_up_for_by_their_weight() -> None:
    table = toy_table(96)
    config = GraphBandGapConfig(
        kind="graph-band-gap", data=Path(), start=Path(), out=Path("none"), batch_size=8, metals=0.25
    )
    trainer = make_trainer(config, GraphNetwork(SHAPE), scales_of(table), table)
    drawn = torch.cat([trainer._batches(torch.Generator().manual_seed(k)).flatten() for k in range(40)])
    share = float((torch.from_numpy(table.gap)[drawn] <= 0).float().mean())
    train = table.gap[table.rows("train")]
    n_metals, n_others = int((train <= 0).sum()), int((train > 0).sum())
    assert share == pytest.approx(0.25 * n_metals / (0.25 * n_metals + n_others), abs=0.05)
    metal = torch.tensor([True, False])
    raw = torch.zeros(2, 3)
    light, heavy = (float(gap_loss(raw, torch.zeros(2), metal, weight)) for weight in (1.0, 4.0))
    assert heavy - light == pytest.approx(3 * np.log(2) / 2)


def released() -> GraphBandGapPredictor:
    if not (root("models") / RELEASED).is_dir():
        pytest.skip("no judge is released here")
    return GraphBandGapPredictor.load(RELEASED)


def test_released_evaluator_knows_salts_from_metals() -> None:
    mgo, nacl, copper, iron = released().predict([MGO, NACL, COPPER, IRON])
    assert copper.p_zero > 0.9
    assert iron.p_zero > 0.9
    assert copper.value == iron.value == 0.0
    assert mgo.p_zero < 0.1
    assert nacl.p_zero < 0.1
    assert mgo.value == pytest.approx(4.4, abs=1.2)  # PBE, Materials Project
    assert nacl.value == pytest.approx(5.0, abs=1.2)


def test_released_evaluator_is_small_and_needs_nothing_else() -> None:
    released()
    folder = root("models") / RELEASED
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12e6
    assert {"config.json", "model.safetensors", "README.md", "recipe.yaml"} <= {
        f.name for f in folder.iterdir()
    }
    assert not [file.name for file in folder.iterdir() if file.suffix in {".pt", ".pkl", ".ckpt"}]
