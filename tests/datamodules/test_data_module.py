"""A subclass of `DataModule` returns loaders: scores, pictures and tools work with its data."""

import json

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

import cli
from datamodules import DataModule
from datamodules.digits import load_digits

NAMES = tuple(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
read: list[int] = []  # numbers of batches


class Streamed(DataModule):
    """The small digits, as floats, from torch's loader."""

    image_shape, num_classes, class_names = (1, 28, 28), 10, NAMES

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def loader(self, split: int, shuffle: bool) -> DataLoader:
        images, labels = load_digits()[split]
        data = TensorDataset(images / 255, labels)
        read.append(0)
        return DataLoader(data, self.batch_size, shuffle=shuffle, drop_last=shuffle)

    def train_dataloader(self) -> DataLoader:
        return self.loader(0, True)

    def val_dataloader(self) -> DataLoader:
        return self.loader(1, False)

    test_dataloader = val_dataloader


class Plain(LightningDataModule):
    """Lightning's, without the contract."""

    train_dataloader = Streamed.train_dataloader
    val_dataloader = Streamed.val_dataloader
    loader, batch_size = Streamed.loader, 64


QUICK = [
    "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--quality.samples=100",
    "--quality.final_samples=150", "--quality.gan_train=false", "--model.generator.width=2",
    "--model.trunk.width=2",
]  # fmt: skip
GAN = ["fit", "--model=ConditionalGAN", *QUICK, "--quality.judge=digits"]


def test_examples_are_the_same_at_each_call_and_change_no_random_numbers():
    data = Streamed(batch_size=32)
    state = torch.get_rng_state()
    few = data.examples("train", 40)
    many = data.examples("train", 70)
    assert torch.equal(state, torch.get_rng_state())
    assert (len(few.targets), len(many.targets)) == (40, 70)
    torch.manual_seed(7)  # as another rank may have it
    assert torch.equal(Streamed(batch_size=32).examples("train", 70).inputs, many.inputs)
    assert many.inputs.dtype == torch.uint8
    assert torch.equal(data.examples("train", 70).inputs, many.inputs)
    assert torch.equal(data.examples("test", 50).inputs, load_digits()[1].inputs[:50])
    assert len(data.examples("val", 9999).targets) == 360
    begun = len(read)
    data.examples("val", 300)
    assert len(read) == begun  # it is kept


def test_a_split_without_a_loader_is_none():
    class Training(Streamed):
        val_dataloader = LightningDataModule.val_dataloader
        test_dataloader = LightningDataModule.test_dataloader

    assert Training().examples("val", 3) is None
    assert Training().examples("train", 3) is not None


def of(kind: type) -> str:
    return f"{__name__}.{kind.__name__}"


def test_a_generator_of_such_data_is_scored_and_drawn(tmp_path, caplog, capsys):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    folder = f"--trainer.default_root_dir={tmp_path}"
    cli.main([*GAN, "--trainer.max_steps=2", folder, "--data", of(Streamed)])
    (run,) = tmp_path.glob("*/version_0")
    assert "no judge" not in caplog.text
    assert caplog.text.count("does not save its position") == 1
    assert {"samples.png", "data_examples.png"} <= {p.name for p in (run / "figures").iterdir()}
    cli.main(["test", str(run), "--trust", "true"])
    scores = json.loads((run / "metrics.json").read_text())["test"][-1]
    assert scores["floor"]["label_accuracy"] == 1.0  # the judge knows these digits
    assert "three" in capsys.readouterr().out
    cli.main(["sample", str(run), "--classes", "three", "--neighbors", "2", "--trust", "true"])
    assert next(run.glob("**/neighbors.png"))


def test_a_classifier_of_such_data_predicts_with_the_names_of_classes(tmp_path):
    cli.main([
        "fit", "--model=ImageClassifier", "--data", of(Streamed), "--trainer.max_steps=3",
        "--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path}",
    ])  # fmt: skip
    (folder,) = tmp_path.glob("*/version_0")
    table = cli.main(["predict", str(folder), "--trust", "true"])
    assert len(table) == 360
    assert {*table["truth"]} == {*NAMES}
    assert table["truth"].tolist() == [NAMES[k] for k in load_digits()[1].targets.tolist()]


def test_what_a_plain_data_module_lacks_is_said_once(tmp_path, caplog):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    model = ["--model.image_shape=[1,28,28]", "--model.num_classes=10"]
    cli.main([
        *GAN, *model, "--data", of(Plain), "--trainer.max_steps=2",
        f"--trainer.default_root_dir={tmp_path}",
    ])  # fmt: skip
    assert caplog.text.count("Plain is no datamodules.DataModule") == 1
    assert "no judge" not in caplog.text
