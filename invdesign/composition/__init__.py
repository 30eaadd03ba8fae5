"""Formulas, one and by the million; oxidation states; supply."""
