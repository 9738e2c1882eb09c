"""The short help of fit, validate and test: the options that people want, with an example.

Imports nothing heavy. `--config FILE --help` shows the options of a config's model and data, and
`--help all` also those of the Trainer, which fill ten screens.
"""

OPTIONS = {
    "--config FILE": "the experiment; a second file overlays the first",
    "--trainer.max_steps N": "length of the run in batches (--trainer.max_epochs N: in epochs)",
    "--data.data_dir DIR": "folder that holds the data set",
    "--data.dataset NAME": "mnist, fashion, digits or auto, of --data Images",
    "--data.batch_size N": "examples per step, over all processes together",
    "--seed_everything N": "seed of all that is random (default: 0)",
    "--model.network.width N": "size of a classifier's network; .hidden of a dense one",
    "--model.generator.width N": "size of a generator; --model.trunk.width of its discriminator",
    "--model.optimizer.lr X": "learning rate; of a GAN --model.generator_optimizer.lr X",
    "--trainer.devices N": "number of GPUs, or of processes on the CPU",
    "--ckpt_path RUN": "continue a run: its folder, a checkpoint, or `last`",
    "--init_from RUN": "start a new run from the weights of another",
    "--experiment NAME": "folder below runs/ (default: the config's name)",
}
TEXTS = {
    "fit": (
        "usage: python cli.py fit --config FILE [OPTIONS]\n\nTrain a model.\n\n"
        "example:\n  python cli.py fit --config configs/cgan.yaml --trainer.max_steps 500 "
        "--data.batch_size 64",
        OPTIONS,
    ),
    "test": (
        "usage: python cli.py {command} RUN [OPTIONS]\n\n{summary}.\n\n"
        "example:\n  python cli.py {command} runs/cgan",
        {
            "--ckpt_path RUN": "the trained model: a run's folder, a checkpoint, `last` or `best`",
            "--data.data_dir DIR": "folder that holds the data set",
            "--data.batch_size N": "examples per step",
            "--quality.final_samples N": "number of a generator's images to score",
            "--trainer.devices N": "number of GPUs, or of processes on the CPU",
            "--trust true": "import the classes that somebody else's run names",
        },
    ),
}
MORE = {
    "fit": "Options of a config's model and data:  python cli.py fit --config FILE --help\n"
    "All options:                           python cli.py fit --help all",
    "test": "All options:  python cli.py {command} --help all",
}
HELP = ("-h", "--help")


def short(args: list[str]) -> str:
    """Returns the help if these arguments want no more than that, otherwise an empty text."""
    command, *options = args
    if len(options) != 1 or options[0] not in HELP:
        return ""
    from commands import COMMANDS

    kind = "fit" if command == "fit" else "test"
    head, known = TEXTS[kind]
    width = max(map(len, known))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in known.items())
    text = f"{head}\n\noptions:\n{lines}\n\n{MORE[kind]}"
    return text.replace("{command}", command).replace("{summary}", COMMANDS[command].summary)


def wants_help(args: list[str]) -> bool:
    """Returns whether the arguments want the options of a config's model and data."""
    asks = any(arg in (*HELP, "--model.help", "--data.help") for arg in args)
    return asks and "all" not in args
