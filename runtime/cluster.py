"""Checks of the SLURM launch that Lightning lacks, so that mistakes do not hang."""

import os
from typing import Any

from lightning import Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from runtime.errors import UserError

SHELLS = ("bash", "interactive")  # names of jobs that Lightning takes for a shell


def in_job() -> bool:
    """Returns whether this process is part of a SLURM job that trains, not of a shell in one."""
    return "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in SHELLS


def run_name() -> str:
    """Returns the name of this job's run, the same after a requeue: `job_12`, or `job_12_TASK`.

    The second is for arrays. A job's second `srun` is another run, `job_12_step_1`. SLURM counts
    steps from zero again after a requeue.
    """
    name = f"job_{os.environ['SLURM_JOB_ID']}"
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        name = f"job_{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    step = os.environ.get("SLURM_STEP_ID", "0")
    return name if step == "0" else f"{name}_step_{step}"


def is_restarted_by_torchrun() -> bool:
    """Returns whether torchrun starts this command again if one of its processes fails."""
    return TorchElasticEnvironment.detect() and _number("TORCHELASTIC_MAX_RESTARTS", 0) > 0


def torchrun_devices(devices: Any) -> dict[str, Any]:
    """Returns the Trainer's devices, if they are not given, and nodes; empty without torchrun.

    After the loss of a node it starts the others again, so the nodes are those of the moment.
    """
    if not TorchElasticEnvironment.detect():
        return {}
    local = _number("LOCAL_WORLD_SIZE")
    return {
        "devices": local if devices in ("auto", -1) else devices,
        "num_nodes": _number("WORLD_SIZE") // local,
    }


def check_launch() -> None:
    """Refuses launches that make Lightning hang, before any Trainer."""
    tasks, name = _number("SLURM_NTASKS"), os.environ.get("SLURM_JOB_NAME")
    if TorchElasticEnvironment.detect():
        if is_restarted_by_torchrun() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            raise UserError(
                "torchrun: after a restart, processes would call those that have ended, whose "
                "addresses torch keeps: `export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1` first."
            )
        return
    if name in SHELLS and _number("SLURM_STEP_NUM_TASKS") > 1:
        raise UserError(
            f"SLURM: srun started several tasks in a job named '{name}', which Lightning takes for "
            "a shell, so each would train alone: `salloc --job-name=train`."
        )
    if in_job() and tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise UserError(
            f"SLURM: the job has {tasks} tasks, but this process was started without srun and "
            "would wait forever for the others: `srun python cli.py ...`."
        )


def check_processes(trainer: Trainer) -> None:
    """Refuses a trainer whose processes are not those that were started, or that starts alone.

    Raises:
        ValueError: Lightning's, if its numbers of devices and nodes are not the launcher's.
        UserError: If SLURM starts fewer, or nothing starts those of the other nodes.
    """
    devices, nodes = trainer.num_devices, trainer.num_nodes
    if type(trainer.strategy.launcher).__module__.endswith(".multiprocessing"):  # a notebook's, too
        raise UserError(
            "trainer.strategy: processes of ddp_spawn, ddp_fork and ddp_notebook cannot give back "
            "what they have trained: use --trainer.strategy ddp, or --trainer.devices 1"
        )
    if TorchElasticEnvironment.detect():
        TorchElasticEnvironment().validate_settings(devices, nodes)
    elif in_job():
        SLURMEnvironment().validate_settings(devices, nodes)
        if trainer.world_size != devices * nodes:
            raise UserError(
                f"SLURM starts {trainer.world_size} of {devices * nodes} processes (one per "
                f"device): sbatch or srun needs --nodes={nodes} --ntasks-per-node={devices}"
            )
    by_slurm = in_job() and "SLURM_NTASKS" in os.environ
    if nodes > 1 and not by_slurm and "MASTER_ADDR" not in os.environ:
        raise UserError(
            f"trainer.num_nodes is {nodes}, but this process is alone and would wait "
            "for the other nodes: start it with `sbatch slurm/train.sbatch` or `torchrun`."
        )


def _number(name: str, default: int = 1) -> int:
    return int(os.environ.get(name, default))
