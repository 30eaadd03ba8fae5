"""Energy above the hull and existence from the composition alone."""
