"""GAN-train: the accuracy on real images of a classifier that learns from generated ones alone.

Shmelkov et al. 2018, "How good is my GAN?"; Ravuri and Vinyals 2019 call it the classification
accuracy score (CAS). It falls both if images show the wrong class and if they lack variety.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.judge import JudgeNetwork
from metrics.score import Watch, silent

WIDTH, BATCH_SIZE, LEARNING_RATE = 16, 100, 0.005  # fixed, so that scores compare


def gan_train_accuracy(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    num_classes: int = 10,
    steps: int = 500,
    seed: int = 0,
    watch: Watch = silent,
) -> float:
    """Trains a small classifier on some images, uint8 (N, C, H, W), and tests it on others.

    The number of steps is the same for any number of images, so that scores compare. The seed
    decides the weights and the order of images. `watch` shows the progress. The CPU's global random
    generator stays as it is.
    """
    device = images.device
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        images, labels = images.clone(), labels.clone()  # `test` makes inference tensors
        torch.manual_seed(seed)
        network = JudgeNetwork(images.shape[1:], num_classes, WIDTH).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for rows in _batches(len(images), watch(range(steps), "GAN-train")):
            logits = network(images[rows.to(device)].float() / 255)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[rows.to(device)]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    batches = zip(test_images.split(500), test_labels.split(500), strict=True)
    hits = sum(int((network.judge(x)[1] == y).sum()) for x, y in batches)
    return hits / len(test_labels)


def _batches(count: int, steps: Iterable[int]) -> Iterator[Tensor]:
    """Yields a whole batch of shuffled indices below `count` for each step, epoch after epoch."""
    order = torch.randperm(count)
    for _ in steps:
        if len(order) < BATCH_SIZE:
            order = torch.randperm(count)
        yield order[:BATCH_SIZE]
        order = order[BATCH_SIZE:]
