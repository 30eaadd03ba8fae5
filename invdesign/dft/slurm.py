"""A Slurm array over the folders of a manifest, to be edited for a cluster and submitted."""

from __future__ import annotations

from collections.abc import Sequence

from invdesign.dft.codes.interface import SlurmJob

SCRIPT = "submit.sh"
MAX_ARRAY_SIZE = 1000  # jobs of an array, by Slurm's default
_TEMPLATE = """\
#!/bin/bash
# One job a folder. Edit what your cluster needs (account, partition, cores, time, modules), then, here:
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
{setup}{command}
"""


def slurm_script(job: SlurmJob, folders: Sequence[str]) -> str:
    """Return the text of ``submit.sh``.

    Args:
        job: what runs in each folder.
        folders: relative to the script.
    """
    number = len(folders)
    more = [
        f"#   FIRST={n} sbatch --array=1-{min(MAX_ARRAY_SIZE, number - n)} {SCRIPT}"
        for n in range(MAX_ARRAY_SIZE, number, MAX_ARRAY_SIZE)
    ]
    return _TEMPLATE.format(
        submit="\n".join([f"#   sbatch {SCRIPT}", *more]),
        number=min(number, MAX_ARRAY_SIZE),
        cores=job.cores,
        folders="\n".join(f"  {folder}" for folder in folders),
        setup=job.setup,
        command=job.command,
    )
