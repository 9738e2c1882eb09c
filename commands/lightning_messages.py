"""Lightning's messages in the words of this project's options."""

import re

REWORDED = {  # pattern: a line, in which {0} is the pattern's first group
    r"Early stopping conditioned on metric `(.*?)` which is not available.*?following: `(.*)": (
        "trainer.callbacks: EarlyStopping watches {0}, which this run does not log. Set its "
        "monitor to one of: {1}"
    ),
    r"learning rate finder": (
        "trainer.callbacks: LearningRateFinder cannot change these models' learning rates. Compare "
        "several with `python cli.py sweep`."
    ),
    r"Cannot use `LearningRateMonitor`": (
        "trainer.callbacks: LearningRateMonitor needs a logger: leave out --trainer.logger false."
    ),
    r"gradient clipping is not supported for manual": (
        "trainer.gradient_clip_val is not for GANs: set --model.gradient_clip_val instead."
    ),
    r"gradient accumulation is not supported for manual": (
        "trainer.accumulate_grad_batches is not for GANs: set --model.accumulate_grad_batches "
        "instead."
    ),
    r"No supported gpu backend found|`CUDAAccelerator` can not run": (
        "trainer.accelerator: this machine has no GPU that PyTorch can use. Leave it out, or set "
        "it to cpu; several processes on the CPU: --config configs/trainer/ddp_cpu.yaml."
    ),
    r"`(\w+)Accelerator` can not run on your system": (
        "trainer.accelerator: this machine has no device of type {0}. Leave it out, or set it to "
        "cpu."
    ),
    r"torch_xla": (
        "trainer.accelerator: TPUs need the package torch_xla, which is not installed. Leave it "
        "out, or set it to cpu."
    ),
    r"invalid accelerator name: `accelerator='(.*?)'`": (
        "trainer.accelerator: there is no accelerator '{0}'. Set it to auto, cpu or gpu."
    ),
    r"invalid strategy name: `strategy='(.*?)'`": (
        "trainer.strategy: there is no strategy '{0}'. Set it to auto, ddp or fsdp."
    ),
    r"strategy `fsdp` requires a GPU": (
        "trainer.strategy: fsdp needs GPUs. Use --trainer.strategy ddp on a CPU."
    ),
    r"you must have DeepSpeed installed": (
        "trainer.strategy: deepspeed needs the package deepspeed, which is not installed: "
        "`pip install deepspeed`."
    ),
    r"`devices` selected with|devices='(.*?)'\)` value is not a valid": (
        "trainer.devices: set it to the number of devices, 1 or more, or to auto."
    ),
    r"`num_nodes` must be a positive integer, but got (.*)\.": (
        "trainer.num_nodes is {0}: set it to 1 or more."
    ),
    r"value (\S+) for (\w+), it has to be in \[0.0, 1.0\] or an int": (
        "trainer.{1} is {0}: set it to a share from 0.0 to 1.0, or to a whole number of batches."
    ),
    r"`val_check_interval` \((\d+)\) must be less than or equal to the number.*batches \((\d+)\)": (
        "trainer.val_check_interval is {0}, and an epoch has {1} training batches: set it to {1} "
        "or less, or to a share such as 0.5."
    ),
    r"`enable_checkpointing=False` but found": (
        "trainer.barebones switches checkpoints off: add --trainer.enable_checkpointing false."
    ),
    r"`Timer\(duration='(.*?)'\)` is not a valid duration": (
        "trainer.max_time is {0}: write days:hours:minutes:seconds, such as 00:02:00:00."
    ),
    r"string value for the `profiler`": (
        "trainer.profiler: set it to simple, advanced, pytorch or xla."
    ),
}


def reworded(message: str) -> str:
    """Returns the message, or what it means for somebody who does not know Lightning."""
    for pattern, line in REWORDED.items():
        if match := re.search(pattern, message):
            return line.format(*(group.replace("`", "") for group in match.groups("")))
    return message
