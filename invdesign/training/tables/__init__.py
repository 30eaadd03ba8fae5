"""Building of the shipped tables."""
