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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from runtime.checkpoints import AtomicCheckpointIO

SECTOR = 512  # bytes that a disk writes whole or not at all
ALL_ORDERS = 3  # operations in a folder, up to which all orders of all subsets are tried
IGNORED = ("events.", "hparams.", ".lock")  # starts of names: TensorBoard's, and empty

Tree = dict[str, bytes | Path | None]  # of a folder: data of a file, target of a link; None: folder


class Operation(NamedTuple):
    """What happened to a node, which is a file, a link or a folder."""

    kind: str  # name, gone, move, data, sync, mark or begin: what was before is on the disk
    folder: int = 0
    name: str = ""
    node: int = -1
    value: Any = None


# -- recording ------------------------------------------------------------------------------------


class Recorder:
    """Writes each operation below a folder of this process to a log; the folder itself is node 0.

    It looks at the whole folder before and after each call of the system that changes names or
    flushes, so it also sees what compiled libraries write.
    """

    def __init__(self, root: Path, log: Path, saving: "Saving") -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.log, self.saving = str(root), log.open("wb"), saving
        self.nodes = {os.stat(root).st_ino: 0}
        self.names = {self.root: 0}
        self.data: dict[int, bytes] = {}
        self.count = 0

    def install(self) -> None:
        self.look()
        for node in self.nodes.values():
            self.write("sync", 0, "", node)
        self.write("begin")
        for name in ("symlink", "link", "mkdir", "unlink", "remove", "rmdir", "truncate"):
            self._wrap(os, name, lambda *_: self.look())
        self._wrap(os, "fsync", self._flushed)
        for name in ("rename", "replace"):
            self._wrap(os, name, self._moved)
        self._wrap(*self.saving[:2], self._saved)

    def _wrap(self, owner: Any, name: str, then: Callable[..., object]) -> None:
        real = getattr(owner, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            self.look()
            result = real(*args, **kwargs)
            then(*args)
            return result

        setattr(owner, name, called)

    def write(self, *operation: Any) -> None:
        pickle.dump(Operation(*operation), self.log)
        self.log.flush()

    def look(self) -> None:
        """Records new names, new data and names that are gone."""
        found: set[str] = {self.root}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                if not name.startswith(IGNORED):
                    found.add(path := f"{folder}/{name}")
                    self._look_at(path)
        for path in [path for path in self.names if path not in found]:
            self.write("gone", *self._place(path))
            self._forget(path)

    def _look_at(self, path: str) -> None:
        number = os.lstat(path).st_ino
        if (node := self.nodes.get(number, -1)) < 0 or self.names.get(path) != node:
            if node < 0:
                self.count += 1
                node = self.nodes[number] = self.count
            self._forget(path)
            self.names[path] = node
            folder, link = os.path.isdir(path), os.path.islink(path)
            value = os.readlink(path) if link else "folder" if folder else "file"
            self.write("name", *self._place(path), node, Path(value) if link else value)
        if os.path.isfile(path) and not os.path.islink(path):
            data = Path(path).read_bytes()
            if data != self.data.get(node, b""):
                self.data[node] = data
                self.write("data", 0, "", node, data)

    def _place(self, path: str) -> tuple[int, str]:
        folder, name = os.path.split(path)
        return self.names.get(folder, -1), name

    def _forget(self, path: str) -> None:
        node = self.names.pop(path, None)
        if node not in self.names.values():  # the system may give its number to another
            self.nodes = {number: known for number, known in self.nodes.items() if known != node}

    def _flushed(self, descriptor: int) -> None:
        if (node := self.nodes.get(os.fstat(descriptor).st_ino)) is not None:
            self.write("sync", 0, "", node)

    def _moved(self, source: Any, target: Any) -> None:
        old, new = (os.path.abspath(os.fspath(path)) for path in (source, target))
        if old in self.names:
            node = self.names.pop(old)
            self._forget(new)
            self.names[new] = node
            self.write("move", *self._place(old), node, self._place(new))
        self.look()

    def _saved(self, *args: Any) -> None:
        if count := self.saving[2](*args):
            self.write("mark", 0, "", -1, count)


def step_in(_: Any, checkpoint: dict[str, Any], *__: Any) -> int:
    """Returns the step of a checkpoint with which a run can go on, otherwise 0."""
    return checkpoint["global_step"] if "optimizer_states" in checkpoint else 0


# A method after which so much must be on the disk: its class, its name, a count by its arguments
Saving = tuple[Any, str, Callable[..., int]]
CHECKPOINT: Saving = (AtomicCheckpointIO, "save_checkpoint", step_in)


def record(root: Path, log: Path, saving: Saving = CHECKPOINT) -> None:
    """Records from now on what this process does below a folder."""
    Recorder(root, log, saving).install()


def read(log: Path) -> list[Operation]:
    """Reads a log."""
    operations = []
    with log.open("rb") as file:
        while True:
            try:
                operations.append(pickle.load(file))
            except EOFError:
                return operations


# -- replaying ------------------------------------------------------------------------------------


@dataclass
class Disk:
    """What certainly is on a disk, and what may be.

    Attributes:
        names: Of each folder, the names that are certainly in it, and their nodes.
        pending: Of each folder, changes of names since it was flushed: name and node, None: gone.
        data: Of each file, what is certainly in it.
        newer: Of each file, its content, if that is not flushed.
        kinds: Of each node, `file`, `folder` or a link's target.
        saved: The count of the last saving that is complete.
    """

    names: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    pending: dict[int, list[dict[str, int | None]]] = field(default_factory=lambda: {0: []})
    data: dict[int, bytes] = field(default_factory=dict)
    newer: dict[int, bytes] = field(default_factory=dict)
    kinds: dict[int, Any] = field(default_factory=lambda: {0: "folder"})
    saved: int = 0

    def apply(self, operation: Operation) -> None:
        kind, folder, name, node, value = operation
        if kind == "name":
            self.pending[folder].append({name: node})
            self.kinds[node] = value
            self.data.setdefault(node, b"")
            self.names.setdefault(node, {})
            self.pending.setdefault(node, [])
        elif kind == "gone":
            self.pending[folder].append({name: None})
        elif kind == "move" and value[0] == folder:
            self.pending[folder].append({name: None, value[1]: node})
        elif kind == "move":
            self.pending[folder].append({name: None})
            self.pending[value[0]].append({value[1]: node})
        elif kind == "data":
            self.newer[node] = value
        elif kind == "sync" and self.kinds[node] == "folder":
            self.names[node] = self._names_after(node, self.pending[node])
            self.pending[node] = []
        elif kind == "sync" and node in self.newer:
            self.data[node] = self.newer.pop(node)
        elif kind == "mark":
            self.saved = value

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
                kind, place = self.kinds[node], f"{path}{name}"
                tree[place] = None if kind == "folder" else kind
                if kind == "folder":
                    add(node, f"{place}/")
                elif kind == "file":
                    tree[place] = data[node]

        add(0, "")
        return tree


class Cut(NamedTuple):
    """A state after a power cut."""

    tree: Tree
    saved: int  # the count of the last saving that had been complete


def cuts(log: Path, limit: int, seed: int = 0) -> list[Cut]:
    """Returns different states, at most so many for each moment of a recorded process."""
    disk, chance = Disk(), random.Random(seed)
    found: dict[Any, Cut] = {}
    operations = read(log)
    begin = [operation.kind for operation in operations].index("begin")
    for number, operation in enumerate(operations):
        disk.apply(operation)
        for tree in disk.states(chance, limit) if number >= begin else ():
            found.setdefault((frozenset(tree.items()), disk.saved), Cut(tree, disk.saved))
    return [*found.values()]


def flushed_in(log: Path) -> set[bytes]:
    """Returns the contents of files that were on the disk at some time."""
    disk, found = Disk(), set[bytes]()
    for operation in read(log):
        disk.apply(operation)
        if operation.kind == "sync":
            found.add(disk.data.get(operation.node, b""))
    return found


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
