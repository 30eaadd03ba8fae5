"""How GPAW is built for one process on Debian (docs/reference/dft-codes.md): libxc and OpenBLAS, no MPI."""

mpi = False
compiler = "g++"
libraries = ["xc", "openblas"]
noblas = False
nolibxc = False
