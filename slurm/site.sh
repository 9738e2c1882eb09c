# Settings that differ between clusters; see slurm/README.md. The other scripts source this file.
# The environment takes precedence: `RUNS=/scratch/me/runs sbatch slurm/train.sbatch ...`.
: "${PYTHON:=.venv/bin/python}" # on a file system that all nodes see
: "${RUNS:=runs}"               # the folder of all run folders, on a file system that all nodes see
# module load python/3.11
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0  # if nodes reach each other over one network only
