"""Valid, unique, novel, stable: one protocol for everybody's crystals."""
