"""Checks that the SLURM allocation matches the Trainer's settings: an error, not a hang."""

import os
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy

from runtime.errors import UserError


def in_job() -> bool:
    """Returns whether this process is part of a SLURM job that trains, not of a shell in one."""
    return "SLURM_JOB_ID" in os.environ and not _in_shell()


def _in_shell() -> bool:  # Like Lightning, by the name of the job.
    return os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")


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


def check_launch() -> None:
    """Refuses launches that make Lightning hang or fail with a traceback, before any Trainer."""
    if TorchElasticEnvironment.detect():
        return
    if _in_shell() and _number("SLURM_STEP_NUM_TASKS") > 1:
        raise UserError(
            f"SLURM: srun started {_number('SLURM_STEP_NUM_TASKS')} tasks in a job named "
            f"'{os.environ['SLURM_JOB_NAME']}', which Lightning takes for a shell, so each would "
            "train alone: give the job another name, `salloc --job-name=train`."
        )
    tasks = _number("SLURM_NTASKS")
    if not in_job() or tasks == 1:
        return
    if "SLURM_STEP_ID" not in os.environ:
        raise UserError(
            f"SLURM: the job has {tasks} tasks, but this process was started without srun and "
            "would wait forever for the others: `srun python cli.py ...`."
        )
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UserError(
            f"SLURM: the job was requested with --ntasks={tasks} alone, which leaves open how "
            "many go to a node: ask for --nodes and --ntasks-per-node."
        )
    if "SLURM_GPUS_PER_TASK" in os.environ:
        raise UserError(
            "SLURM: --gpus-per-task hides a node's other GPUs from each task, but NCCL and "
            "Lightning want to see all of them: ask for --gpus-per-node."
        )


def check_shape(trainer: Trainer) -> None:
    """Refuses a trainer whose processes are not those that SLURM started, or that starts alone."""
    launched = in_job() or TorchElasticEnvironment.detect()
    if not launched and trainer.num_nodes > 1 and "MASTER_ADDR" not in os.environ:
        raise UserError(
            f"trainer.num_nodes is {trainer.num_nodes}, but this process is alone and would wait "
            "for the other nodes: start it with `sbatch slurm/train.sbatch` or `torchrun`."
        )
    if not in_job() or TorchElasticEnvironment.detect():
        return
    tasks, nodes = _number("SLURM_NTASKS"), _number("SLURM_NNODES")
    devices, wanted_nodes = trainer.num_devices, trainer.num_nodes
    if (devices * wanted_nodes, wanted_nodes) == (tasks, nodes):
        return
    remedy = f"ask SLURM for --nodes={wanted_nodes} --ntasks-per-node={devices}."
    if tasks % nodes:
        remedy = "ask SLURM for as many tasks on each node, with --ntasks-per-node."
    else:
        remedy = f"set --trainer.num_nodes {nodes} --trainer.devices {tasks // nodes}, or {remedy}"
    alone = ", and each would train alone" if devices * wanted_nodes == 1 else ""
    raise UserError(
        f"SLURM started {tasks} task(s) on {nodes} node(s), but trainer.num_nodes is "
        f"{wanted_nodes} with {devices} device(s) each{alone}: {remedy}"
    )


def check_cores(trainer: Trainer, oversubscribe: bool) -> None:
    """Refuses to start more processes on the CPU than it has cores, unless that is wanted."""
    started = "LOCAL_RANK" in os.environ or in_job() or TorchElasticEnvironment.detect()
    if oversubscribe or started:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > (cores or 1):
        raise UserError(
            f"trainer.devices is {trainer.num_devices}, and this machine has {cores} CPU cores: "
            f"set --trainer.devices to {cores} or less, or --trainer.oversubscribe true."
        )


def check_strategy(trainer: Trainer, model: LightningModule) -> None:
    """Refuses strategies that cannot train networks that take turns."""
    # FSDP requires one call of the model's `forward` per step, and DeepSpeed takes one optimizer.
    sharded = isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy)
    if sharded and not model.automatic_optimization:
        name = type(trainer.strategy).__name__.removesuffix("Strategy")
        raise UserError(
            f"trainer.strategy: {name} cannot train {type(model).__name__}, whose networks take "
            "turns with an optimizer each: use --trainer.strategy ddp, these networks fit any GPU."
        )


def insist_on_data(data: Any) -> None:
    """Turns `dataset: auto` into `mnist` in a job, which must fail rather than train on less."""
    if in_job() and data.get("init_args", {}).get("dataset") == "auto":
        data.init_args.dataset = "mnist"


def _number(name: str) -> int:
    return int(os.environ.get(name, "1"))
