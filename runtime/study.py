"""An Optuna study in a file, which several processes share. Imports Optuna only when it is used."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

NAME = "sweep"
PRUNED = "pruned"  # an attribute of a trial that its run has stopped early
SQLITE, JOURNAL = "study.db", "study.journal"


def file_in(folder: Path) -> Path:
    """Returns the file of a folder's study, which may not exist yet.

    SQLite cannot lock files on many network file systems. Optuna's journal can, so a study that
    begins in a SLURM job is a journal.
    """
    for name in (SQLITE, JOURNAL):
        if (folder / name).is_file():
            return folder / name
    return folder / (JOURNAL if "SLURM_JOB_ID" in os.environ else SQLITE)


def open_study(file: Path, **settings: Any) -> "optuna.Study":
    """Opens the study in a file, or creates it with these settings, such as its direction."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage: optuna.storages.BaseStorage
    if file.suffix == Path(JOURNAL).suffix:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
    else:  # `timeout`: seconds to wait for another process that writes
        engine = {"connect_args": {"timeout": 60}}
        storage = optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}", engine)
    return optuna.create_study(study_name=NAME, storage=storage, load_if_exists=True, **settings)


def unfinished_trial(study: "optuna.Study", number: int) -> "optuna.Trial":
    """Returns a trial by its number, to ask it for its values and to report to it."""
    import optuna

    storage = study._storage
    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    return optuna.Trial(study, trial_id)
