"""The lecture's classifiers as on its slides, in Keras: keras_classifiers.py iris|dense|cnn [whole]

With `whole` the process is the slides' whole program: it imports what they import, draws their
pictures of the data, trains for their epochs and ends. Otherwise it takes requested steps.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf
from keras import Sequential, layers
from worker import Line

Arrays = tuple[np.ndarray, np.ndarray]  # inputs (N, ...), one-hot classes (N, C)
EPOCHS = {"iris": 15, "dense": 3, "cnn": 4}
BATCHES = {"iris": 1, "dense": 32, "cnn": 32}


def iris() -> Sequential:
    return Sequential(
        [
            layers.Input((4,)),
            layers.Dense(128),
            layers.Activation("sigmoid"),
            layers.Dense(3),
            layers.Activation("softmax"),
        ]
    )


def dense() -> Sequential:
    return Sequential(
        [
            layers.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(128),
            layers.Activation("sigmoid"),
            layers.Dense(128),
            layers.Activation("sigmoid"),
            layers.Dense(10),
            layers.Activation("softmax"),
        ]
    )


def cnn() -> Sequential:
    return Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, kernel_size=(3, 3)),
            layers.Activation("relu"),
            layers.Flatten(),
            layers.Dense(128),
            layers.Activation("sigmoid"),
            layers.Dense(10),
            layers.Activation("softmax"),
        ]
    )


MODELS: dict[str, Callable[[], Sequential]] = {"iris": iris, "dense": dense, "cnn": cnn}


def noise(name: str) -> Arrays:
    """Draws examples in the numbers and shapes of the slides; their values do not change a time."""
    rng = np.random.default_rng(0)
    if name == "iris":
        return rng.normal(size=(120, 4)), np.eye(3)[rng.integers(0, 3, 120)]
    shape = (28, 28) if name == "dense" else (28, 28, 1)
    images = rng.integers(0, 256, (60_000, *shape), dtype=np.uint8)
    return images, np.eye(10)[rng.integers(0, 10, 60_000)]


def fit_steps(model: Sequential, data: Arrays, batch: int, steps: int) -> float:
    """Trains for about `steps` steps in one call of `fit`; returns the seconds of `steps` steps."""
    inputs, targets = (array[: steps * batch] for array in data)
    epochs = max(1, steps * batch // len(inputs))
    start = time.perf_counter()
    model.fit(inputs, targets, epochs=epochs, batch_size=batch, verbose=1)
    return (time.perf_counter() - start) * steps * batch / (epochs * len(inputs))


def prepare(name: str, images: np.ndarray, folder: Path) -> None:
    """Imports and draws what the slides do before training; seaborn's flowers are a download."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import seaborn as sns
    from sklearn.datasets import load_iris
    from sklearn.model_selection import train_test_split

    if name == "iris":
        flowers = load_iris(as_frame=True)
        table = flowers.data.assign(species=flowers.target_names[flowers.target])
        sns.pairplot(table, hue="species").savefig(folder / "iris.png")
        train_test_split(table.to_numpy(), train_size=0.8, random_state=0)
        return
    for place in range(6):
        plt.subplot(1, 6, place + 1)
        plt.imshow(images[place].reshape(28, 28), cmap="gray")
    plt.gcf().set_size_inches((14, 2))
    plt.savefig(folder / "mnist-examples.png")


def main() -> None:
    name, line = sys.argv[1], Line()
    if threads := os.environ.get("OMP_NUM_THREADS"):  # the same number as torch
        tf.config.threading.set_intra_op_parallelism_threads(int(threads))
        tf.config.threading.set_inter_op_parallelism_threads(int(threads))
    model, data, batch = MODELS[name](), noise(name), BATCHES[name]
    if "whole" in sys.argv:
        with TemporaryDirectory() as folder:
            prepare(name, data[0], Path(folder))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    if "whole" in sys.argv:
        model.fit(*data, epochs=EPOCHS[name], batch_size=batch, verbose=1)
        return
    line.ready(keras=keras.__version__, tensorflow=tf.__version__)
    while steps := line.receive():
        line.report(fit_steps(model, data, batch, steps))


if __name__ == "__main__":
    main()
