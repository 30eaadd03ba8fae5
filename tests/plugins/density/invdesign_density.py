"""The density of crystals: one row; ``density.yaml`` is the recipe of its model."""

from pathlib import Path

from invdesign.core.properties import Property

DENSITY = Property(
    *("g/cm³", "density", "mass per volume of the relaxed cell", 0.0, 30.0),
    from_composition=str(Path(__file__).with_name("model")),
)
