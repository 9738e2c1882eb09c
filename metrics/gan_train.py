"""GAN-train: the accuracy on real images of a classifier that learns from generated ones alone.

Shmelkov et al. 2018, "How good is my GAN?"; Ravuri and Vinyals 2019 call it the classification
accuracy score (CAS). It falls both if images show the wrong class and if they lack variety.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.judge import JudgeNetwork
from metrics.samples import Samples

# Fixed, so that scores compare, also those of different numbers of images.
STEPS, WIDTH, BATCH_SIZE, LEARNING_RATE = 500, 16, 100, 0.005


def gan_train(samples: Samples, train: Samples, test: Samples, seed: int = 0) -> float:
    """Trains a small classifier on the images of samples and returns its accuracy on test images.

    The seed decides the weights and the order of images. The CPU's global random generator stays
    as it is.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        images, labels = (x.clone() for x in samples.pairs())  # `test` makes inference tensors
        torch.manual_seed(seed)
        network = JudgeNetwork(images.shape[1:], samples.num_classes, WIDTH).to(images.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
        for rows in _batches(len(images), STEPS):
            logits = network(images[rows.to(images.device)].float() / 255)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[rows.to(images.device)]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    batches = zip(*(x.split(500) for x in test.pairs()), strict=True)
    hits = sum(int((network.judge(x)[1] == y).sum()) for x, y in batches)
    return hits / len(test)


def _batches(count: int, steps: int) -> Iterator[Tensor]:
    """Yields a whole batch of shuffled indices below `count` for each step, epoch after epoch."""
    order = torch.randperm(count)
    for _ in range(steps):
        if len(order) < BATCH_SIZE:
            order = torch.randperm(count)
        yield order[:BATCH_SIZE]
        order = order[BATCH_SIZE:]
