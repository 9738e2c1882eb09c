"""GAN-train: what a classifier learns from generated images alone.

Shmelkov et al. 2018, "How good is my GAN?"; Ravuri and Vinyals 2019 call it the classification
accuracy score (CAS). It falls both where images show the wrong class and where they lack variety.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.judge import JudgeNetwork

WIDTH, BATCH_SIZE, LEARNING_RATE = 16, 100, 0.005  # fixed, so that scores compare


def gan_train_accuracy(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    num_classes: int = 10,
    steps: int = 500,
    seed: int = 0,
) -> float:
    """Trains a small classifier on some images and returns its accuracy on others.

    The global random generator of the CPU is left as it was.

    Args:
        images: Generated images, uint8 (N, 1, 28, 28), N at least `BATCH_SIZE`.
        labels: The classes (N,) that were asked for.
        test_images: Real images, uint8 (M, 1, 28, 28).
        test_labels: Their classes (M,).
        num_classes: Number of classes.
        steps: Of training; the same for any number of images, so that scores compare.
        seed: Of the weights and of the order of images.
    """
    device = images.device
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        images, labels = images.clone(), labels.clone()  # not inference tensors, as `test` has
        torch.manual_seed(seed)
        network = JudgeNetwork(WIDTH, num_classes=num_classes).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for rows in _batches(len(images), steps):
            logits = network(images[rows.to(device)].float() / 255)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[rows.to(device)]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    batches = zip(test_images.split(500), test_labels.split(500), strict=True)
    hits = sum(int((network.judge(x)[1] == y).sum()) for x, y in batches)
    return hits / len(test_labels)


def _batches(count: int, steps: int) -> Iterator[Tensor]:
    """Whole batches of shuffled indices below `count`, pass after pass, `steps` in all."""
    order = torch.randperm(count)
    for _ in range(steps):
        if len(order) < BATCH_SIZE:
            order = torch.randperm(count)
        yield order[:BATCH_SIZE]
        order = order[BATCH_SIZE:]
