"""The lecture's GANs as on its slides, in Keras, in `.venv-bench`: keras_gans.py gan|cgan|loss"""

import os
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import Sequential, layers
from worker import Line

BATCH, NFEATURES = 100, 100


def sgd() -> keras.optimizers.SGD:
    return keras.optimizers.SGD(learning_rate=0.0005, momentum=0.9, nesterov=True)


def build_generator(inputs: int) -> Sequential:
    generate = Sequential()
    generate.add(layers.Input((inputs,)))
    generate.add(layers.Dense(1024))
    generate.add(layers.Activation("tanh"))
    generate.add(layers.Dense(128 * 7 * 7))
    generate.add(layers.BatchNormalization())
    generate.add(layers.Activation("tanh"))
    generate.add(layers.Reshape((7, 7, 128)))
    generate.add(layers.UpSampling2D(size=(2, 2)))
    generate.add(layers.Conv2D(64, (5, 5), padding="same"))
    generate.add(layers.Activation("tanh"))
    generate.add(layers.UpSampling2D(size=(2, 2)))
    generate.add(layers.Conv2D(1, (5, 5), padding="same"))
    generate.add(layers.Activation("sigmoid"))
    generate.compile(loss="binary_crossentropy", optimizer="SGD")
    return generate


def build_discriminator(
    channels: int, activation: str, outputs: int, **compiled: Any
) -> Sequential:
    discr = Sequential()
    discr.add(layers.Input((28, 28, 1)))
    discr.add(layers.Conv2D(channels, (5, 5), padding="same"))
    discr.add(layers.Activation(activation))
    discr.add(layers.MaxPooling2D((2, 2)))
    discr.add(layers.Conv2D(2 * channels, (5, 5)))
    discr.add(layers.Activation(activation))
    discr.add(layers.MaxPooling2D((2, 2)))
    discr.add(layers.Dropout(0.5))
    discr.add(layers.Flatten())
    discr.add(layers.Dense(1024))
    discr.add(layers.Activation("tanh"))
    discr.add(layers.Dense(outputs))
    discr.add(layers.Activation("sigmoid"))
    discr.compile(optimizer=sgd(), **compiled)
    return discr


def combine(generate: Sequential, discr: Sequential, loss: str) -> Sequential:
    gen_discr = Sequential([generate])
    discr.trainable = False
    gen_discr.add(discr)
    gen_discr.compile(loss=loss, optimizer=sgd(), metrics=["accuracy"])
    discr.trainable = True
    return gen_discr


class Game:
    """The three models and the two updates of the slides' loop."""

    def __init__(self, conditional: bool) -> None:
        loss = "categorical_crossentropy" if conditional else "binary_crossentropy"
        self.conditional = conditional
        self.generate = build_generator(NFEATURES + 10 * conditional)
        if conditional:
            self.discr = build_discriminator(128, "relu", 11, loss=loss, metrics=["accuracy"])
        else:
            self.discr = build_discriminator(64, "tanh", 1, loss=loss)
        self.gen_discr = combine(self.generate, self.discr, loss)
        rng = np.random.default_rng(0)
        self.x_tru = rng.uniform(0, 1, (BATCH, 28, 28, 1))  # float64, like the slides' data
        self.y_tru = np.eye(10)[rng.integers(0, 10, BATCH)]

    def noise(self, one_hot: np.ndarray) -> np.ndarray:
        noise = np.random.uniform(0, 1, (BATCH, NFEATURES))
        return np.concatenate([noise, one_hot], axis=1) if self.conditional else noise

    def discriminator_step(self, one_hot: np.ndarray) -> None:
        x_gen = self.generate.predict(self.noise(one_hot), verbose=0)
        self.discr.trainable = True
        if self.conditional:
            real = np.concatenate([np.zeros((BATCH, 1)), self.y_tru], axis=1)
            fake = np.concatenate([np.ones((BATCH, 1)), np.zeros((BATCH, 10))], axis=1)
            targets = np.concatenate([real, fake], axis=0)
        else:
            targets = np.array([1] * BATCH + [0] * BATCH)
        self.discr.train_on_batch(np.concatenate([self.x_tru, x_gen], axis=0), targets)

    def generator_step(self, one_hot: np.ndarray) -> None:
        self.discr.trainable = False
        ones = np.array([1] * BATCH)
        as_real = np.concatenate([np.zeros((BATCH, 1)), one_hot], axis=1)
        self.gen_discr.train_on_batch(self.noise(one_hot), as_real if self.conditional else ones)

    def step(self) -> None:
        one_hot = np.eye(10)[np.random.randint(0, 10, size=(BATCH,))]
        self.discriminator_step(one_hot)
        self.generator_step(one_hot)


def check(game: Game) -> None:
    """Checks that each step changes one network alone; otherwise the comparison would be wrong.

    Keras 3 reads `trainable` when it first traces a train function: the combined model's is traced
    here, while the discriminator is frozen.
    """
    one_hot = np.eye(10)[np.zeros(BATCH, dtype=int)]
    for step, moves in ((game.generator_step, "G"), (game.discriminator_step, "D")) * 2:
        before = weights(game)
        step(one_hot)
        after = weights(game)
        moved = {k for k in before if not all(map(np.array_equal, before[k], after[k]))}
        assert moved == {moves}, f"a step of {moves} moved {sorted(moved)}"


def loss_behind_sigmoid() -> str:
    """Returns which function `categorical_crossentropy` of sigmoids is in this Keras.

    `softmax`: Keras finds the logits before the sigmoid and takes their softmax cross-entropy.
    `normalized`: it divides the sigmoids by their sum.
    """
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(8, 5)), np.eye(3)[random.integers(0, 3, 8)]
    model = Sequential([layers.Input((5,)), layers.Dense(3), layers.Activation("sigmoid")])
    still = keras.optimizers.SGD(learning_rate=0.0)
    model.compile(loss="categorical_crossentropy", optimizer=still)
    kernel, bias = model.layers[0].get_weights()
    logits = inputs @ kernel + bias
    shares = {"softmax": np.exp(logits), "normalized": 1 / (1 + np.exp(-logits))}
    measured = model.train_on_batch(inputs, targets)
    for name, share in shares.items():
        probabilities = share / share.sum(axis=1, keepdims=True)
        if np.isclose(measured, -(targets * np.log(probabilities)).sum(axis=1).mean(), atol=1e-5):
            return name
    raise AssertionError(f"Keras {keras.__version__} computes neither: {measured}")


def weights(game: Game) -> dict[str, list[np.ndarray]]:
    """Copies the weights that the optimizers may change."""
    kinds = (layers.Dense, layers.Conv2D)
    return {
        name: [
            w for layer in network.layers if isinstance(layer, kinds) for w in layer.get_weights()
        ]
        for name, network in {"D": game.discr, "G": game.generate}.items()
    }


def main() -> None:
    if sys.argv[1] == "loss":
        print(loss_behind_sigmoid())
        return
    line = Line()
    if threads := os.environ.get("OMP_NUM_THREADS"):  # the same number as torch
        tf.config.threading.set_intra_op_parallelism_threads(int(threads))
        tf.config.threading.set_inter_op_parallelism_threads(int(threads))
    game = Game(conditional=sys.argv[1] == "cgan")
    check(game)
    for _ in line.steps(keras=keras.__version__, tensorflow=tf.__version__):
        game.step()


if __name__ == "__main__":
    main()
