"""The gates: charge balance, geometry, novelty, relaxation, energy above hull."""
