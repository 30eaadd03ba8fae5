"""What a crystal is here: genes and geometries, symmetry, identity, elements, files."""
