"""Building of hulls and calibrations."""
