"""The short help of fit, validate and test: the options that people want, with an example.

Imports nothing heavy. `--model.help CLASS` and `--data.help CLASS` show the options of a class, and
`--help all` those of the Trainer, which fill ten screens.
"""

FIT = """\
usage: python cli.py fit --config FILE [OPTIONS]

Train a model.

example:
  python cli.py fit --config configs/cgan.yaml --trainer.max_steps 500 --data.batch_size 64

options:
  --config FILE              the experiment; a second file overlays the first
  --trainer.max_steps N      length of the run in batches (--trainer.max_epochs N: in epochs)
  --data.data_dir DIR        folder that holds the data set
  --data.dataset NAME        of --data Images: auto, mnist, fashion, kmnist, digits, cifar10, ...
  --data.batch_size N        examples per step, over all processes together
  --seed_everything N        seed of all that is random (default: 0)
  --model.network.width N    size of a classifier's network; .hidden of a dense one
  --model.generator.width N  size of a generator; --model.trunk.width of its discriminator
  --model.optimizer.lr X     learning rate; of a GAN --model.generator_optimizer.lr X
  --trainer.devices N        number of GPUs, or of processes on the CPU
  --ckpt_path RUN            continue a run: its folder, a checkpoint, or `last`
  --init_from RUN            start a new run from the weights of another
  --experiment NAME          folder below runs/ (default: the config's name)

Options of a model or of data:  python cli.py fit --model.help GAN (--data.help Images)
All options:                    python cli.py fit --help all"""
SCORE = """\
usage: python cli.py {command} RUN [OPTIONS]

{summary}.

example:
  python cli.py {command} runs/cgan

options:
  --ckpt_path RUN            the trained model: its folder, a checkpoint, `last` or `best`
  --data.data_dir DIR        folder that holds the data set
  --data.batch_size N        examples per step
  --quality.final_samples N  number of a generator's images to score
  --trainer.devices N        number of GPUs, or of processes on the CPU
  --trust true               import the classes that somebody else's run names

All options:  python cli.py {command} --help all"""
