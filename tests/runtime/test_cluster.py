"""A SLURM job that does not match the run is an error of one line that says what to change."""

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from runtime import cluster
from runtime.errors import UserError
from runtime.trainer import LadderTrainer


@pytest.fixture
def job(monkeypatch):
    """Sets the variables of a task that srun started, except those that are None."""
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # a Trainer sets it, for the whole process

    def set_variables(**variables: int | str | None) -> None:
        tasks, nodes = variables.get("NTASKS", 1), variables.get("NNODES", 1)
        defaults = {
            "JOB_ID": 12, "JOB_NAME": "train", "STEP_ID": 0, "STEP_NUM_TASKS": tasks,
            "NTASKS": tasks, "NNODES": nodes, "NTASKS_PER_NODE": int(tasks or 1) // int(nodes or 1),
            "PROCID": 0, "LOCALID": 0, "NODEID": 0,
        }  # fmt: skip
        for name, value in (defaults | variables).items():
            if value is not None:
                monkeypatch.setenv(f"SLURM_{name}", str(value))

    return set_variables


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_processes_that_cannot_give_back_a_model_are_refused(strategy):
    with pytest.raises(UserError, match="of ddp_spawn, .* use --trainer.strategy ddp"):
        LadderTrainer(accelerator="cpu", devices=2, strategy=strategy, logger=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NTASKS": 2, "STEP_ID": None}, "without srun .* `srun python cli.py"),
        ({"NTASKS": 2, "JOB_NAME": "interactive"}, "several tasks .*'interactive'.* --job-name"),
        ({"NTASKS": 2}, "devices=1.*--ntasks-per-node=2. does not match"),
        ({"NTASKS": 3, "NTASKS_PER_NODE": None}, "--ntasks=3.*--ntasks-per-node"),
    ],
)
def test_a_wrong_launch_is_refused(variables, expected, job):
    job(**variables)
    with pytest.raises(UserError, match=expected):
        LadderTrainer(accelerator="cpu", devices=1, logger=False)


@pytest.mark.parametrize(("devices", "num_nodes"), [(2, 1), (1, 2), (4, 1), (1, 4)])
def test_another_shape_than_slurms_is_refused(devices, num_nodes, job):
    job(NTASKS=4, NNODES=2)
    with pytest.raises(UserError, match="(devices|num_nodes)=.* does not match"):
        LadderTrainer(
            accelerator="cpu", devices=devices, num_nodes=num_nodes, strategy="ddp", logger=False
        )


@pytest.mark.parametrize(
    ("variables", "devices", "expected"),
    [
        ({}, 2, "starts 1 of 2 .*--nodes=1 --ntasks-per-node=2"),
        ({"STEP_ID": None}, 2, "starts 1 of 2 .*--nodes=1 --ntasks-per-node=2"),
        ({"NTASKS": 7, "NNODES": 2, "NTASKS_PER_NODE": 4}, 4, "starts 7 of 8 .*--nodes=2"),
        ({"NTASKS": None, "STEP_ID": None, "NNODES": 2}, 1, "num_nodes is 2, .* is alone"),
    ],
)
def test_fewer_tasks_than_devices_are_refused(variables, devices, expected, job):
    job(**{"NTASKS_PER_NODE": None} | variables)
    nodes = variables.get("NNODES", 1)
    with pytest.raises(UserError, match=expected):
        LadderTrainer(
            accelerator="cpu", devices=devices, num_nodes=nodes, strategy="ddp", logger=False
        )


@pytest.mark.parametrize(
    ("variables", "plugins"),
    [
        ({"NTASKS": None, "STEP_ID": None}, []),  # a job that names no number of tasks
        ({"JOB_NAME": "interactive"}, []),
        ({}, [LightningEnvironment()]),
    ],
)
def test_lightning_starts_the_processes_that_slurm_does_not(variables, plugins, job):
    job(**{"NTASKS_PER_NODE": None} | variables)
    trainer = LadderTrainer(
        accelerator="cpu", devices=2, strategy="ddp", plugins=plugins, logger=False
    )
    assert trainer.world_size == 2


@pytest.mark.parametrize(
    "variables",
    [
        {"NTASKS": 4, "NNODES": 2},
        {"NTASKS": 4, "NNODES": 2, "PROCID": 3, "LOCALID": 1, "NODEID": 1},
    ],
)
def test_the_right_shape_is_accepted(variables, job):
    job(**variables)
    trainer = LadderTrainer(accelerator="cpu", devices=2, num_nodes=2, strategy="ddp", logger=False)
    assert trainer.world_size == 4
    assert trainer.global_rank == variables.get("PROCID", 0)


@pytest.mark.parametrize(
    "variables",
    [
        {},  # a job of one task
        {"STEP_ID": None},  # python in a batch script, without srun
        {"JOB_NAME": "interactive", "NTASKS": 8, "STEP_NUM_TASKS": 1},  # a shell in an allocation
    ],
)
def test_one_process_is_accepted(variables, job):
    job(**variables)
    assert LadderTrainer(accelerator="cpu", devices=1, logger=False).world_size == 1


def test_a_jobs_second_srun_is_another_run(job):
    job()
    assert cluster.run_name() == "job_12"
    job(STEP_ID=1)
    assert cluster.run_name() == "job_12_step_1"
    job(STEP_ID=0, ARRAY_JOB_ID=10, ARRAY_TASK_ID=3)
    assert cluster.run_name() == "job_10_3"
    job(JOB_NAME="bash")
    assert not cluster.in_job()


def test_other_nodes_are_not_waited_for_in_vain():
    with pytest.raises(UserError, match="num_nodes is 2, but this process is alone"):
        LadderTrainer(accelerator="cpu", devices=1, num_nodes=2, strategy="ddp", logger=False)


@pytest.fixture
def torchrun(monkeypatch):
    """Sets the variables of a process that torchrun started."""
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # a Trainer sets it, for the whole process

    def set_variables(ranks: int = 1, nodes: int = 1, **variables: int | str) -> None:
        defaults = {
            "RANK": 0, "LOCAL_RANK": 0, "GROUP_RANK": 0, "WORLD_SIZE": ranks * nodes,
            "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "localhost", "MASTER_PORT": 1,
            "TORCHELASTIC_RUN_ID": "test",
        }  # fmt: skip
        for name, value in (defaults | variables).items():
            monkeypatch.setenv(name, str(value))

    return set_variables


def test_a_trainer_has_the_processes_that_torchrun_started(torchrun):
    torchrun(ranks=4, nodes=2)
    trainer = LadderTrainer(accelerator="cpu", num_nodes=3, logger=False)  # one node was lost
    assert (trainer.num_devices, trainer.num_nodes, trainer.world_size) == (4, 2, 8)


def test_other_devices_than_torchruns_are_refused(torchrun):
    torchrun(ranks=4)
    with pytest.raises(UserError, match="2 [*] 1.*does not match"):
        LadderTrainer(accelerator="cpu", devices=2, logger=False)


def test_restarts_that_would_call_processes_of_the_past_are_refused(torchrun):
    torchrun(TORCHELASTIC_MAX_RESTARTS=9, TORCHELASTIC_USE_AGENT_STORE="True")
    with pytest.raises(UserError, match="export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        LadderTrainer(accelerator="cpu", logger=False)
    torchrun(TORCHELASTIC_MAX_RESTARTS=9, TORCHELASTIC_USE_AGENT_STORE="False")
    LadderTrainer(accelerator="cpu", logger=False)
