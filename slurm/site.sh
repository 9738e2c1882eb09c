# What differs from cluster to cluster, and only here; see slurm/README.md. Sourced by the scripts.
# The environment wins over what stands here: `RUNS=/scratch/me/runs sbatch slurm/train.sbatch ...`.
: "${PYTHON:=.venv/bin/python}" # on a file system that all nodes see
: "${RUNS:=runs}"               # likewise; the folder of all run folders
# module load python/3.11
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0  # if nodes reach each other over one network only
