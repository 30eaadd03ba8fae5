"""The gates: charge balance, geometry, novelty, relaxation, energy above hull, and the checks."""

CHECKS = ("phonons", "md")
"""Gates of those alone that would be shortlisted, where asked for; in this order."""
