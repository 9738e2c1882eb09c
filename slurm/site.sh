# Settings that differ between clusters; see slurm/README.md. The other scripts source this file.
# The environment takes precedence: `RUNS=/scratch/me/runs sbatch slurm/train.sbatch ...`.
: "${PYTHON:=.venv/bin/python}" # on a file system that all nodes see
: "${RUNS:=runs}"               # the folder of all run folders, on a file system that all nodes see
# module load python/3.11
: "${REQUEUE_EXIT:=}" # the exit code after which this site's SLURM requeues a job, often 99; empty: the job calls scontrol requeue
# Options of sbatch, which reads them before a job: `source slurm/site.sh`, then `sbatch slurm/train.sbatch ...`
# export SBATCH_ACCOUNT=me SBATCH_PARTITION=gpu SBATCH_QOS=normal
# export SBATCH_GPUS_PER_NODE=a100:1 SBATCH_CONSTRAINT=80gb # type and number of GPUs; `scontrol show node` lists Gres and AvailableFeatures
LOCAL=/tmp/ladder_${SLURM_JOB_ID:-}
: "${CONTAINER:=}" # words before Python, such as "apptainer exec --nv $LOCAL" with PYTHON=python STAGED=ladder.sif; see ladder.def
: "${STAGED:=}"    # a file that is at LOCAL of each node during a run, copied by sbcast: the image, or a squashfs of data

# The network between nodes. The agreement on when to stop uses gloo, also on GPUs.
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0 # if nodes reach each other over one network only; `ip -br addr` lists them
# export NCCL_IB_HCA==mlx5_0,mlx5_1 # only these InfiniBand cards, if a node has others; `ibstat -l` lists them
# export NCCL_IB_TIMEOUT=22         # 4.1 us x 2^22 until a card gives up: for large networks, if a run ends with "error 12"
# export NCCL_DEBUG=INFO            # to find out why a run hangs: prints which interfaces and cards NCCL uses
# export TORCH_NCCL_DUMP_ON_TIMEOUT=1 TORCH_NCCL_TRACE_BUFFER_SIZE=2000 TORCH_NCCL_DEBUG_INFO_TEMP_FILE=$RUNS/nccl_ # and each rank's last operations
# Leave TORCH_NCCL_ASYNC_ERROR_HANDLING at its default, 3. With 0, a rank that waits for a lost one never ends.
requeue() { # requeues a job whose run has saved after a signal
  [ -z "$REQUEUE_EXIT" ] || exit "$REQUEUE_EXIT"
  [ "$SLURM_JOB_ID" != "${SLURM_ARRAY_JOB_ID:-}" ] || SLURM_JOB_ID+=_$SLURM_ARRAY_TASK_ID # the bare number means all tasks
  exec scontrol requeue "$SLURM_JOB_ID"
}
staged() { # runs a command between the copy of STAGED and its removal
  [ -z "$STAGED" ] || sbcast --force "$STAGED" "$LOCAL" || return
  "$@"
  local status=$?
  [ -z "$STAGED" ] || srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 rm -f "$LOCAL"
  return $status
}
