"""Search for image data sets, the fallback to digits, and the splits."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from datamodules import Images, Split, images
from datamodules.base import cut_validation
from datamodules.digits import load_digits
from runtime.errors import UserError


def as_set(split: Split) -> set[bytes]:
    return {row.numpy().tobytes() for row in split.inputs}


def test_auto_is_mnist_where_it_is_found(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(tmp_path / "MNIST" / "raw", suffix=".gz")
    data = Images("auto", str(tmp_path), val_fraction=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.prepare_data()
        data.setup("fit")
    assert data.dataset_found == data.hparams["dataset_found"] == data.judge == "mnist"


def test_auto_falls_back_to_digits_loudly_and_on_the_record(tmp_path: Path) -> None:
    data = Images("auto", str(tmp_path))
    data.prepare_data()
    with pytest.warns(UserWarning, match="MNIST WAS NOT FOUND") as caught:
        data.setup("fit")
    message = str(caught[0].message)
    for part in (f"{tmp_path}/MNIST/raw", "tests are offline", "--data.data_dir"):
        assert part in message
    assert data.hparams["dataset_found"] == "digits"
    assert data.hparams_initial["dataset_found"] == "digits"  # for loggers
    assert data.hparams["dataset"] == "auto"
    assert data.identity()["dataset"] == "digits in MNIST's frame"
    assert data.judge == "digits"
    assert data.fell_back


def test_the_fallback_is_one_line_where_it_is_no_news(tmp_path: Path) -> None:
    run = Trainer(max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu",
                  enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    data = Images("auto", str(tmp_path))
    for command, message in ((run.fit, "MNIST WAS NOT FOUND"), (run.test, "MNIST was not found")):
        data.splits = None
        with pytest.warns(UserWarning, match=message):
            command(Nothing(), datamodule=data)


class Nothing(LightningModule):
    """Trains a single number and ignores the images."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        pixels, labels = batch
        assert pixels.shape == (128, 1, 28, 28)
        assert pixels.dtype == torch.float32
        assert 0.9 < pixels.max() <= 1
        return self.number

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def test_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        pass


@pytest.mark.filterwarnings("ignore")
def test_logger_and_checkpoint_carry_what_was_found(tmp_path: Path) -> None:
    data = Images("auto", str(tmp_path / "data"))
    options: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_steps=1, accelerator="cpu", logger=CSVLogger(tmp_path), limit_val_batches=0, **options
    )
    trainer.fit(Nothing(), data)
    logged = next(tmp_path.rglob("hparams.yaml")).read_text()
    assert "dataset_found: digits" in logged
    path = next(tmp_path.rglob("*.ckpt"))
    again = Images.load_from_checkpoint(path, weights_only=True)
    assert again.dataset == "auto"
    assert again.val_fraction == data.val_fraction


def test_a_named_data_set_is_never_replaced(tmp_path: Path) -> None:
    data = Images("mnist", str(tmp_path))
    data.prepare_data()
    with pytest.raises(UserError, match=r"MNIST is in none of.*tests are offline"):
        data.setup("fit")


def test_the_network_is_asked_only_for_what_is_missing(
    tmp_path: Path, tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(images, "download", lambda key, folder: asked.append(key) or "no")
    tiny(tmp_path / "MNIST" / "raw")
    for dataset in ("auto", "mnist", "digits", "kmnist"):
        Images(dataset, str(tmp_path)).prepare_data()  # type: ignore[arg-type]
    assert asked == ["kmnist"]


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(UserError, match="'cifar'.*--data.dataset.*kmnist"):
        Images("cifar")  # type: ignore[arg-type]


def test_validation_is_cut_from_train_alone_stratified_and_seeded() -> None:
    train, test = load_digits()
    data, other = Images("digits"), Images("digits", split_seed=1)
    data.setup()
    other.setup()
    assert data.splits is not None
    assert other.splits is not None
    assert data.splits.val is not None
    assert other.splits.val is not None
    assert len(data.splits.val.targets) == 120
    assert len(data.splits.train.targets) == 1317
    assert set(data.splits.val.targets.bincount().tolist()) <= {11, 12, 13}
    assert as_set(data.splits.train).isdisjoint(as_set(data.splits.val))
    assert as_set(data.splits.train) | as_set(data.splits.val) == as_set(train)
    assert torch.equal(data.splits.test.inputs, test.inputs)
    assert torch.equal(other.splits.test.inputs, test.inputs)
    again = cut_validation(train, 1 / 12, 0)[1]
    assert again is not None
    assert torch.equal(again.inputs, data.splits.val.inputs)
    assert as_set(other.splits.val) != as_set(data.splits.val)


def test_the_split_does_not_depend_on_the_seed_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    data, other = Images("digits"), Images("digits")
    data.setup()
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    torch.manual_seed(7)
    other.setup()
    assert data.splits is not None
    assert other.splits is not None
    assert torch.equal(data.splits.train.inputs, other.splits.train.inputs)
    first, second = next(iter(data.train_dataloader())), next(iter(other.train_dataloader()))
    assert torch.equal(first[0], second[0])  # Both use seed 7 now.
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    assert not torch.equal(first[0], next(iter(data.train_dataloader()))[0])


def test_no_validation_is_no_loader() -> None:
    data = Images("digits", val_fraction=0)
    assert data.val_dataloader() == []
    assert len(data.train_dataloader()) == 1437 // 128


@pytest.mark.parametrize("fraction", [0.003, 0.999, 1.5, -0.1])
def test_a_fraction_that_empties_a_class_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="val_fraction "):
        Images("digits", val_fraction=fraction).setup()


@pytest.mark.parametrize(("scale", "largest"), [(255.0, 1.0), (256.0, 255 / 256), (1.0, 255.0)])
def test_pixels_are_divided_by_the_scale(scale: float, largest: float) -> None:
    data = Images("digits", scale=scale)
    stored = next(iter(data.test_dataloader()))
    assert stored[0].dtype == torch.uint8
    pixels, labels = data.on_after_batch_transfer(stored, 0)
    assert pixels.dtype == torch.float32
    assert pixels.max().item() == largest
    assert torch.equal(pixels, stored[0].float() / scale)
    assert torch.equal(labels, stored[1])


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(UserError, match="data.scale is 0"):
        Images("digits", scale=0)
