"""A folder of the user's own image files, one sub-folder for each class."""

from pathlib import Path
from typing import Literal, get_args

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.base import Split
from datamodules.image_cache import Decoded, decode
from datamodules.image_files import Fit, UnreadableImageError, count_channels
from datamodules.image_layout import find_layout
from datamodules.own_images import OwnImages
from runtime.errors import UserError
from runtime.ranges import Positive, PositiveFloat, Seed, Share


class ImageFolder(OwnImages):
    """Images (B, C, H, W) of files of any size, float32 in `[0, 255 / scale]`, and labels (B,).

    The folder has one sub-folder for each class, whose name is the class's name. It may instead
    have `train`, and optionally `val` and `test`, each with these sub-folders. The files are PNG,
    JPEG, BMP, WebP or TIFF. They are decoded once, into memory and into a cache beside them.

    Args:
        path: The folder.
        size: Height and width in pixels: one number, or `[height, width]`.
        channels: 3 for colour, 1 for grey; None: as in the files, which must agree.
        fit: `crop` cuts off what does not fit, `pad` adds white edges, `stretch` changes the
            proportions.
        labels: `folders`, or `none` for images without classes, in and below the folder.
        val_fraction: Share of the training images that becomes the validation split, unless there
            is a folder `val`; 0: none.
        test_fraction: Share of the images that becomes the test split, unless there is a folder
            `test`.
        split_seed: Decides which images are cut, independently of the run's seed.
        skip_unreadable: Leave out files that cannot be read, with a warning.
        mirrors: The mirror image of each image is an equally valid image.
        batch_size: Images per batch, summed over all processes.
        scale: Divisor of the pixels 0..255.
        cache: Keep decoded images in `<path>/.ladder` or the user's cache folder for the next run.
    """

    not_in_identity = OwnImages.not_in_identity | {"skip_unreadable", "cache"}

    def __init__(
        self,
        path: str,
        size: Positive | tuple[Positive, Positive] = 32,
        channels: Literal[1, 3] | None = 3,
        fit: Fit = "crop",
        labels: Literal["folders", "none"] = "folders",
        val_fraction: Share = 0.1,
        test_fraction: Share = 0.1,
        split_seed: Seed = 0,
        skip_unreadable: bool = False,
        mirrors: bool = False,
        batch_size: Positive = 64,
        scale: PositiveFloat = 255.0,
        cache: bool = True,
    ) -> None:
        super().__init__(val_fraction, test_fraction, split_seed, batch_size, scale)
        height, width = (size, size) if isinstance(size, int) else size
        for name, given, known in (
            ("channels", channels, (1, 3, None)),
            ("fit", fit, get_args(Fit)),
            ("labels", labels, ("folders", "none")),
        ):
            if given not in known:
                options = ", ".join(map(str, known))
                raise UserError(f"{name} is {given!r}: set --data.{name} to one of {options}")
        self.root = Path(path).expanduser()
        self.layout = find_layout(self.root, labelled=labels == "folders")
        self.files = [file for part in self.layout.parts.values() for file in part.files]
        self.image_shape = (channels or self._channels_of_files(), height, width)
        self.class_names = self.layout.class_names
        self.num_classes = len(self.class_names) if self.class_names else None
        self.title = self.root.resolve().name
        self.fit, self.skip_unreadable, self.cache = fit, skip_unreadable, cache
        self.mirrors = mirrors
        self._decoded: Decoded | None = None

    def _channels_of_files(self) -> Literal[1, 3]:
        examples: dict[int, Path] = {}
        for file in self.files:
            try:
                examples.setdefault(count_channels(file), file)
            except UnreadableImageError:
                continue  # `setup` reports it.
        if len(examples) == 2:
            raise UserError(
                f"mixed modes: {examples[1]} is grey and {examples[3]} is in colour: set "
                "--data.channels to 1 or 3"
            )
        return 1 if 1 in examples else 3

    def prepare_data(self) -> None:
        """Decodes in one process of each machine; the others then find the cache."""
        self._decode()

    def _decode(self) -> Decoded:
        assert self.image_shape is not None
        if self._decoded is None:
            self._decoded = decode(self.root, self.files, self.image_shape, self.fit, self.cache)
        return self._decoded

    def load_parts(self) -> dict[str, Split]:
        images, failures, self.content, self.source = self._decode()
        self._decoded = None  # The splits copy it.
        self._report_failures(failures)
        parts, first = {}, 0
        for name, part in self.layout.parts.items():
            rows = range(first, first + len(part.files))
            first += len(part.files)
            read = [self.files[i].relative_to(self.root).as_posix() not in failures for i in rows]
            split = Split(images[rows.start : rows.stop], torch.tensor(part.targets))
            parts[name] = split.take(torch.tensor(read).nonzero()[:, 0])
        return parts

    def _report_failures(self, failures: dict[str, str]) -> None:
        if not failures:
            return
        listed = [f"{self.root / name} ({reason})" for name, reason in failures.items()]
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        problem = f"{len(listed)} image(s) cannot be read: {', '.join(listed[:3])}{more}"
        if not self.skip_unreadable:
            raise UserError(
                f"{problem}: replace them, or set --data.skip_unreadable true to leave them out"
            )
        rank_zero_warn(f"{problem}. They are left out.")
