"""Data sets: crystals with properties, compositions, tokens, splits."""
