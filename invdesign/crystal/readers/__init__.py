"""Readers of structure files, one kind each; :mod:`invdesign.crystal.structure_files` chooses among them."""
