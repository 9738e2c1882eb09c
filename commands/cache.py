"""`cache`: lists and clears the images that were decoded for later runs."""

from datetime import datetime

from datamodules.store import cache_folder, describe, entries, remove, size_of
from runtime.errors import UserError, printable
from runtime.files import describe_size


def cache(clear: str | None = None) -> None:
    """Lists the decoded images that are kept for later runs, the last used first.

    They are in LADDER_CACHE, by default in the user's cache folder. Sets that were not used for the
    longest time are removed if all together take more than 100 GB.

    Args:
        clear: Remove a set, by its key in the list, or `all`. Later runs decode its images again.
    """
    sets = {folder.name: folder for folder in entries()}
    if clear is not None:
        chosen = list(sets) if clear == "all" else [clear]
        for key in chosen:
            if key not in sets:
                keys = f"one of {', '.join(sets)}, or all" if sets else "the cache is empty"
                raise UserError(f"--clear {printable(key)}: there is no such set: {keys}")
            if not remove(sets[key]):
                raise UserError(f"--clear: a process is decoding {key}: wait until it ends")
        print(f"Removed {len(chosen)} of {len(sets)} sets from {cache_folder()}.")
        return
    print(f"{cache_folder()}: {len(sets)} sets of decoded images")
    for key, folder in sets.items():
        about, size = describe(folder), describe_size(size_of(folder))
        shape = " x ".join(map(str, about.get("image_shape", [])))
        path = printable(str(about.get("path", "incomplete, or of an earlier version")))
        used = datetime.fromtimestamp(folder.stat().st_mtime)
        print(f"{key}  {size:>10}  {used:%Y-%m-%d %H:%M}  {shape}  {path}")
