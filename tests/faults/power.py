"""Records what a process does to a folder, and rebuilds what a power cut may leave of it.

POSIX promises little. A file's data is on the disk after an fsync of the file. A name is in its
folder after an fsync of the folder. All that is younger may be there or not: names in any order,
data cut off, zero, or torn between sectors.
"""

import itertools
import math
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from runtime.checkpoints import AtomicCheckpointIO

SECTOR = 512  # bytes that a disk writes whole or not at all
ALL_ORDERS = 3  # operations in a folder, up to which all orders of all subsets are tried
IGNORED = ("events.", "hparams.", ".lock")  # starts of names: TensorBoard's, and empty

Content = bytes | Path | None  # of a file, a link's target; None: a folder
Tree = dict[str, Content]


def step_in(_: Any, checkpoint: dict[str, Any], *__: Any) -> int:
    """Returns the step of a checkpoint from which a run can continue, otherwise 0."""
    return checkpoint["global_step"] if "optimizer_states" in checkpoint else 0


# A method after which so much must be on the disk: its class, its name, a count by its arguments
Saving = tuple[Any, str, Callable[..., int]]
CHECKPOINT: Saving = (AtomicCheckpointIO, "save_checkpoint", step_in)


def record(root: Path, log: Path, saving: Saving = CHECKPOINT) -> None:
    """Records from now on what this process does below a folder.

    It looks at the whole folder before and after each call of the system that changes names or
    flushes, so it also sees what compiled libraries write.
    """
    root.mkdir(parents=True, exist_ok=True)
    stream, known = log.open("wb"), dict[bytes, bytes]()
    pickler = pickle.Pickler(stream)  # writes an object once, and refers to it after that

    def write(kind: str, value: Any) -> None:
        pickler.dump((kind, value))
        stream.flush()

    def look() -> dict[str, tuple[int, Content]]:
        """Returns the inode and the content of each path."""
        found = {}
        for folder, folders, files in os.walk(root):
            for path in (Path(folder, name) for name in (*folders, *files)):
                if not path.name.startswith(IGNORED):
                    found[str(path.relative_to(root))] = (path.lstat().st_ino, content_of(path))
        return found

    def content_of(path: Path) -> Content:
        if path.is_symlink():
            return Path(os.readlink(path))
        return None if path.is_dir() else known.setdefault(data := path.read_bytes(), data)

    def wrap(owner: Any, name: str, then: Callable[..., object] = lambda *_: None) -> None:
        real = getattr(owner, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            write("look", look())
            result = real(*args, **kwargs)
            write("look", look())
            then(*args)
            return result

        setattr(owner, name, called)

    write("begin", (root.stat().st_ino, look()))
    for name in ("symlink", "link", "mkdir", "unlink", "remove", "rmdir", "truncate"):
        wrap(os, name)
    for name in ("rename", "replace"):
        wrap(os, name)
    wrap(os, "fsync", lambda descriptor: write("sync", os.fstat(descriptor).st_ino))
    wrap(*saving[:2], lambda *args: write("mark", saving[2](*args)))


class Disk:
    """What certainly is on a disk, and what may be. A node is a file, a link or the folder 0.

    Attributes:
        names: Of each folder, the names that are certainly in it, and their nodes.
        pending: Of each folder, changes of names since it was flushed: name and node, None: gone.
        data: Of each file, what is certainly in it.
        newer: Of each file, its content, if that is not flushed.
        saved: The count of the last saving that is complete.
    """

    def __init__(self) -> None:
        self.names: dict[int, dict[str, int]] = {0: {}}
        self.pending: dict[int, list[dict[str, int | None]]] = {0: []}
        self.data: dict[int, bytes] = {}
        self.newer: dict[int, bytes] = {}
        self.saved = 0
        self.others: dict[int, Path | None] = {0: None}  # nodes that are links or folders
        self.seen: dict[tuple[int, str], int] = {}  # nodes by folder and name, as last looked at
        self.nodes: dict[int, int] = {}  # by inode, while it is in use
        self.count = 0

    def apply(self, kind: str, value: Any) -> None:
        if kind == "begin":  # what was before is on the disk
            root, value = value
            self.nodes[root] = 0
        if kind in ("begin", "look"):
            self._look(value)
        elif kind == "sync" and value in self.nodes:
            self._flush(self.nodes[value])
        elif kind == "mark":
            self.saved = value or self.saved
        if kind == "begin":
            for node in self.nodes.values():
                self._flush(node)

    def _flush(self, node: int) -> None:
        if node in self.pending:
            self.names[node] = self._names_after(node, self.pending[node])
            self.pending[node] = []
        elif node in self.newer:
            self.data[node] = self.newer.pop(node)

    def _look(self, found: dict[str, tuple[int, Content]]) -> None:
        """Adds changes of names and data since the last look."""
        inodes = {inode for inode, _ in found.values()}
        self.nodes = {k: node for k, node in self.nodes.items() if k in inodes or node == 0}
        places: dict[str, int] = {"": 0}
        now: dict[tuple[int, str], int] = {}
        for path, (inode, content) in found.items():  # a folder comes before what is in it
            node = places[path] = self._node(inode, content)
            now[places[path.rpartition("/")[0]], path.rpartition("/")[2]] = node
        left = {place: node for place, node in self.seen.items() if place not in now}
        for (folder, name), node in now.items():
            if self.seen.get((folder, name)) != node:
                change: dict[str, int | None] = {name: node}
                for place in [place for place in left if left[place] == node]:  # it was renamed
                    del left[place]
                    if place[0] == folder:  # at once
                        change = {place[1]: None, name: node}
                    else:
                        self.pending[place[0]].append({place[1]: None})
                self.pending[folder].append(change)
        for folder, name in left:
            self.pending[folder].append({name: None})
        self.seen = now

    def _node(self, inode: int, content: Content) -> int:
        """Returns the node of an inode, a new one if it was not in use, with this content."""
        if inode not in self.nodes:
            self.count += 1
            node = self.nodes[inode] = self.count
            if isinstance(content, bytes):
                self.data[node] = b""
            else:
                self.others[node] = content
            if content is None:
                self.names[node], self.pending[node] = {}, []
        node = self.nodes[inode]
        if isinstance(content, bytes) and content != self.newer.get(node, self.data[node]):
            self.newer[node] = content
        return node

    def _names_after(self, folder: int, changes: Any) -> dict[str, int]:
        names = self.names[folder] | {k: v for change in changes for k, v in change.items()}
        return {name: node for name, node in names.items() if node is not None}

    def states(self, chance: random.Random, limit: int) -> Iterator[Tree]:
        """Yields what a power cut may leave now: all if they are few, otherwise a sample."""
        folders = [node for node, changes in self.pending.items() if changes]
        listings = [self._listings(node, chance) for node in folders]
        contents = [self._contents(node, chance, 1 + limit // 20) for node in self.newer]
        choices = [*listings, *contents]
        if math.prod(map(len, choices)) <= limit:
            picks: Any = itertools.product(*choices)
        else:
            ends = ([choice[0] for choice in choices], [choice[-1] for choice in choices])
            drawn = ([chance.choice(choice) for choice in choices] for _ in range(limit - 2))
            picks = itertools.chain(ends, drawn)
        for pick in picks:
            names = self.names | dict(zip(folders, pick, strict=False))
            data = self.data | dict(zip(self.newer, pick[len(folders) :], strict=True))
            yield self._tree(names, data)

    def _listings(self, folder: int, chance: random.Random) -> list[dict[str, int]]:
        """Lists what may be in a folder, from nothing new to everything."""
        changes = self.pending[folder]
        orders: list[Any] = [changes[:count] for count in range(len(changes) + 1)]
        if len(changes) <= ALL_ORDERS:
            for count in range(len(changes) + 1):
                orders += itertools.permutations(changes, count)
        else:
            counts = [chance.randint(0, len(changes)) for _ in range(40)]
            orders += [chance.sample(changes, count) for count in counts]
        found: list[dict[str, int]] = []
        for order in [*orders, changes]:
            found.append(self._names_after(folder, order))
        return found[:1] + [names for names in found[1:-1] if names != found[0]] + found[-1:]

    def _contents(self, node: int, chance: random.Random, places: int) -> list[bytes]:
        """Lists what may be in a file, from nothing new to everything."""
        old, new = self.data[node], self.newer[node]
        if not new:
            return [old, new]
        shown, padded = [old], old.ljust(len(new), b"\0")[: len(new)]
        for _ in range(places):
            cut = chance.randrange(len(old) if new.startswith(old) else 0, len(new))
            starts = range(0, len(new), SECTOR)
            torn = b"".join(chance.choice([padded, new])[at : at + SECTOR] for at in starts)
            shown += [new[:cut], new[:cut] + bytes(len(new) - cut), torn]
        return [*shown, new]

    def _tree(self, names: dict[int, dict[str, int]], data: dict[int, bytes]) -> Tree:
        tree: Tree = {}

        def add(folder: int, path: str) -> None:
            for name, node in names[folder].items():
                tree[path + name] = data[node] if node in data else self.others[node]
                if node in names:
                    add(node, f"{path}{name}/")

        add(0, "")
        return tree


class Cut(NamedTuple):
    """A state after a power cut."""

    tree: Tree
    saved: int  # the count of the last saving that had been complete


def replay(log: Path) -> Iterator[Disk]:
    """Yields the disk after each recorded event that may have changed it."""
    disk, last = Disk(), None
    with log.open("rb") as file:
        unpickler = pickle.Unpickler(file)
        while True:
            try:
                event = unpickler.load()
            except EOFError:
                return
            if event != last:
                disk.apply(*event)
                yield disk
            last = event


def cuts(log: Path, limit: int, seed: int = 0) -> list[Cut]:
    """Returns different states, at most so many for each moment of a recorded process."""
    chance, found = random.Random(seed), dict[Any, Cut]()
    for disk in replay(log):
        for tree in disk.states(chance, limit):
            found.setdefault((frozenset(tree.items()), disk.saved), Cut(tree, disk.saved))
    return [*found.values()]


def flushed_in(log: Path) -> set[bytes]:
    """Returns the contents of files that were on the disk at some time."""
    return {data for disk in replay(log) for data in disk.data.values()}


class Store:
    """Puts states into a folder, fast: files of the same content are links to one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.known: dict[bytes, Path] = {}

    def put(self, tree: Tree, root: Path, link: bool = True) -> None:
        """Replaces a folder's content with a state. Without `link`, files may be changed."""
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        for name, content in tree.items():
            path = root / name
            if content is None:
                path.mkdir()
            elif isinstance(content, Path):
                path.symlink_to(content)
            elif link:
                os.link(self._file_with(content), path)
            else:
                path.write_bytes(content)

    def _file_with(self, content: bytes) -> Path:
        if content not in self.known:
            path = self.known[content] = self.folder / str(len(self.known))
            path.write_bytes(content)
            os.utime(path, ns=(0, len(self.known) * 10**9))  # as `problem_of` tells files apart
        return self.known[content]
