"""ABINIT inputs for ``invdesign dft write --code abinit``: one class, found by its entry point."""

from ase.io import write
from pymatgen.io.ase import AseAtomsAdaptor

from invdesign.dft.codes.interface import Code, InputWriter, SlurmJob
from invdesign.dft.codes.kpoints import k_grid

CUTOFF = 40.0  # Ha


class Abinit(Code):
    """ABINIT with norm-conserving PBE pseudopotentials, energies of fixed cells."""

    name, label = "abinit", "ABINIT"
    tasks = ("static",)

    def prepare(self, task, elements, pseudos, input_set):
        def write_input(structure, folder):
            folder.mkdir(parents=True, exist_ok=True)
            grid = k_grid(structure, task)
            atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
            pseudopotentials = [f"{symbol}.psp8" for symbol in sorted(structure.symbol_set)]
            settings = {"ecut": CUTOFF, "ngkpt": " ".join(map(str, grid)), "tolvrs": 1e-10}
            write(folder / "abinit.abi", atoms, format="abinit-in", param=settings, pseudos=pseudopotentials)
            return {"kpoints": list(grid)}

        return InputWriter({"functional": "PBE", "ecut_ha": CUTOFF}, write_input)

    def slurm_job(self, task, settings):
        return SlurmJob("srun abinit abinit.abi > abinit.log", "# module load abinit\n")
