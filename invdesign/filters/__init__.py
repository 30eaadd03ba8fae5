"""The cheap gates: charge balance, geometry, novelty."""
