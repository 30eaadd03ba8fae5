"""The jobs on files: evaluate, relax, hull, predict, explain, map."""
