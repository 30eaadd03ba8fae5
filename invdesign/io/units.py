"""Units of energy, length and pressure."""

HARTREE, BOHR = 27.211386246, 0.529177210903  # eV, Å
RYDBERG = HARTREE / 2
KBAR = 0.1  # GPa
EV_PER_A3 = 160.21766208  # GPa in 1 eV/Å³
HARTREE_PER_BOHR3 = 29421.0157  # GPa in 1 Hartree/bohr³
