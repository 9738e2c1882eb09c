"""The command line, completed: lists joined, a run's own config added, the experiment named."""

from pathlib import Path

from runtime import checkpoints
from runtime.run_folder import run_folder_of

LISTS = ("--digits", "--between")  # options that take several values


def experiment_name(files: list[Path], class_path: str) -> str:
    """The first config file's name (`configs/lecture/gan.yaml`: `lecture-gan`), or the model's."""
    for file in files:
        if file.name == "config.yaml":  # a run's own
            return file.parent.parent.name
        if file.parent.name != "trainer":
            parts = file.with_suffix("").parts
            return "-".join(
                parts[parts.index("configs") + 1 :] if "configs" in parts else parts[-1:]
            )
    return class_path.rpartition(".")[2].lower()


def lists_joined(args: list[str]) -> list[str]:
    """Writes lists of numbers, `--digits 3 1 4`, as jsonargparse reads them, `[3,1,4]`."""
    joined: list[str] = []
    for arg in args:
        if joined and arg.removeprefix("-").isdecimal() and joined[-1].startswith("["):
            joined[-1] = f"{joined[-1][:-1]},{arg}]"
        elif joined and joined[-1] in LISTS and not arg.startswith(("[", "--")):
            joined.append(f"[{arg}]")
        else:
            joined.append(arg)
    return joined


def with_config_of_run(args: list[str]) -> list[str]:
    """Adds a run's own config where its folder or checkpoint is all that was given."""
    split = [part for arg in args for part in arg.split("=", 1)]
    given = dict(zip(split, split[1:], strict=False))
    if not given.keys().isdisjoint({"--config", "-c", "--model"}) or "--ckpt_path" not in given:
        return args
    runs = Path(given.get("--trainer.default_root_dir", "runs"))
    folder = run_folder_of(checkpoints.resolve(given["--ckpt_path"], runs))
    if folder is None or not (folder / "config.yaml").is_file():
        return args
    return [args[0], "--config", str(folder / "config.yaml"), *args[1:]]
