"""Blocks on disk as they finish, so that a run that was broken off goes on from there."""

import shutil
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from escape.run import BlockResult, Run
from escape.store import written_whole


class Parts:
    """A folder of finished blocks of one run, each a file that is whole or not there.

    The files hold arrays alone, in numpy's format with a checksum, and are read without pickle: they are safe to open
    whoever wrote them.

    Parameters
    ----------
    folder : Path
        Made when first needed.
    run : Run
        The run that the blocks are of.
    """

    def __init__(self, folder: Path, run: Run):
        self.folder = folder
        self._run = run

    def path(self, number: int) -> Path:
        """Where a block is or would be."""
        return self.folder / f"block-{number:06d}.npz"

    def find(self, number: int) -> BlockResult | None:
        """Return a block that was finished before, or None; a torn file is named in a warning."""
        path = self.path(number)
        try:
            # Opened here: what numpy opens itself it leaves open where the archive is torn.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
                return self._checked(held, number)
        except FileNotFoundError:
            return None
        except PermissionError:
            raise
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            warnings.warn(f"{path} is torn ({' '.join(str(error).split())}); its block is done again", stacklevel=2)
            return None

    def save(self, number: int, result: BlockResult) -> None:
        """Keep a block: written under a temporary name, flushed to disk, then renamed into place.

        Raises
        ------
        OSError
            If it cannot be written, naming the file; blocks that were kept before stay whole.
        """
        path = self.path(number)
        # By name: the order in which observables were given is no part of the run.
        records = {f"record_{i}": result.records[name] for i, name in enumerate(sorted(self._run.observe))}
        counts = np.array([result.needed, result.moved], dtype=np.int64)
        arrays = {"exit_step": result.exit_step, "status": result.status, "final": result.final, "counts": counts}
        try:
            try:
                self._write(path, {**arrays, **records})
            except FileNotFoundError:
                # Another process that ran the same was done, and has cleared up.
                self._write(path, {**arrays, **records})
        except OSError as error:
            raise type(error)(
                f"cannot write {path}: {error.strerror or error}; the blocks finished before are kept there, "
                "and the same run goes on from them"
            ) from error

    def _write(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # An open file: to a name of another ending numpy would add one of its own.
        with written_whole(path) as name, open(name, "wb") as file:
            np.savez(file, **arrays)

    def discard(self) -> None:
        """Remove the folder, once all that it holds is kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _checked(self, held, number: int) -> BlockResult:
        wanted = self._run.wanted(number)
        exit_step, status, final, counts = (held[key] for key in ("exit_step", "status", "final", "counts"))
        records = {name: held[f"record_{i}"] for i, name in enumerate(sorted(self._run.observe))}
        rows = len(self._run.recorded)
        whole = exit_step.shape == status.shape == (wanted,) == final.shape[:1] and counts.shape == (2,)
        if not whole or any(len(values) != rows for values in records.values()):
            raise ValueError("not the shape of a block of this run")
        return BlockResult(records, exit_step, status, final, *map(int, counts))
