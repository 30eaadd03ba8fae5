"""Cells and free coordinates of genes, inherited or by flow matching."""
