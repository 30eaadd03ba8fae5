"""A Slurm array over the folders of a manifest, to be edited for a cluster and submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = "submit.sh"
MOST = 1000  # jobs of an array, by Slurm's own limit (MaxArraySize)
_RUN = {
    "vasp": "srun vasp_std > vasp.out",
    "espresso": "srun pw.x -in {name}.in > {name}.out",
    "gpaw": "python run.py > run.log 2>&1",
    "elk": "elk-lapw > elk.out 2>&1",
}
_FIRST = {
    "vasp": """\
# module load vasp
# POTCARs are licensed, so each folder lists their symbols only; pymatgen makes the file from your own copies:
[ -f POTCAR ] || pmg potcar -s $(cat POTCAR.spec) -f {release}
""",
    "espresso": """\
# module load quantum-espresso
# pseudo_dir of the inputs must be where the pseudopotentials are on this cluster
""",
    "gpaw": """\
# source the environment that has GPAW (not invdesign); killed jobs go on where they were when submitted again
export OMP_NUM_THREADS=1
""",
    "elk": """\
# sppath in elk.in must be where Elk's species files are on this cluster
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}
""",
}
_TEMPLATE = """\
#!/bin/bash
# One job a folder. Edit what your cluster wants (account, partition, cores, time, modules), then, here:
{submit}
# Afterwards: invdesign dft collect . --out RUN
#SBATCH --job-name=invdesign
#SBATCH --array=1-{number}
#SBATCH --nodes=1
#SBATCH --ntasks={cores}
#SBATCH --time=12:00:00
#SBATCH --output=slurm-%A_%a.out
##SBATCH --account=
##SBATCH --partition=

folders=(
{folders}
)
cd "${{folders[$SLURM_ARRAY_TASK_ID - 1 + ${{FIRST:-0}}]}}" || exit 1
{first}{run}
"""


def slurm_script(code: str, task: str, folders: Sequence[str], potcar_release: str | None) -> str:
    """The text of ``submit.sh``.

    Args:
        code: what runs.
        task: what it computes.
        folders: one job each, as seen from where the script lies.
        potcar_release: pymatgen's name of VASP's pseudopotentials.
    """
    return _TEMPLATE.format(
        submit="\n".join(_commands(len(folders))),
        number=min(len(folders), MOST),
        cores=1 if code in {"gpaw", "elk"} else 16,
        folders="\n".join(f"  {folder}" for folder in folders),
        first=_FIRST[code].format(release=potcar_release),
        run=_RUN[code].format(name="relax" if task == "relax" else "scf"),
    )


def _commands(number: int) -> list[str]:
    """How to submit them: at once, or a thousand at a time."""
    later = range(MOST, number, MOST)
    more = [f"#   FIRST={n} sbatch --array=1-{min(MOST, number - n)} {SCRIPT}" for n in later]
    return [f"#   sbatch {SCRIPT}", *more]
