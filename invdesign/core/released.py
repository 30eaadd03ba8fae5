"""The released model of each property; light to import."""

RELEASED = {
    "band_gap": "band-gap",
    "formation_energy_per_atom": "formation-energy",
    "bulk_modulus_gpa": "elasticity",
    "shear_modulus_gpa": "elasticity",
    "debye_temperature_k": "elasticity",
    "thermal_conductivity_w_mk": "elasticity",
}
"""The released model of each property from structure."""
FROM_COMPOSITION = {
    "band_gap": "band-gap-composition",
    "band_gap_experimental": "band-gap-composition",
    "formation_energy_per_atom": "formation-energy-composition",
    "bulk_modulus_gpa": "bulk-modulus-composition",
}
"""The released model of each property from composition alone."""
