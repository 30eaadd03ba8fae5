"""How GPAW is built for one process on Debian (docs/guide/dft.md): libxc and OpenBLAS, no MPI."""

mpi = False
compiler = "g++"
libraries = ["xc", "openblas"]
noblas = False
nolibxc = False
