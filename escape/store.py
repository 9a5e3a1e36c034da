"""Results on disk: netCDF-4 files, whole or not there, found again by the spec of their run."""

import contextlib
import glob
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import xarray as xr

from escape.spec import digest


def write(data: xr.Dataset, path: str | Path, scratch: Path | None = None) -> Path:
    """Write a Dataset as netCDF-4 under a temporary name, flush it to disk, then rename it into place.

    Parameters
    ----------
    data : xarray.Dataset
        What to write.
    path : str or Path
        The file.
    scratch : Path, optional
        An existing folder of the same file system for the temporary file; beside the file if omitted.

    Raises
    ------
    OSError
        If the place cannot be written, naming it; nothing is left behind.
    """
    path = Path(path)
    check_writable(path)
    with written_whole(path, scratch) as name:
        data.to_netcdf(name, engine="h5netcdf")
    return path


@contextlib.contextmanager
def written_whole(path: Path, scratch: Path | None = None) -> Iterator[str]:
    """Give the name of a temporary file to write; afterwards it is flushed to disk and renamed to `path`, or removed.

    Parameters
    ----------
    path : Path
        The file to come, whole or not at all.
    scratch : Path, optional
        As for `write`.
    """
    handle, name = tempfile.mkstemp(dir=scratch or path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        yield name
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def read(path: str | Path) -> xr.Dataset:
    """Read a Dataset into memory.

    Raises
    ------
    ValueError
        If there is no such file, or it is no whole netCDF-4 file of a run.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no file {path}")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as data:
            return data.load()
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a whole netCDF-4 file: {' '.join(str(error).split())}") from error


def check_writable(path: str | Path) -> None:
    """Make the folder of a file to come and raise OSError, naming it, unless the file can be written there."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror or error}; choose another place") from error


class Store:
    """A folder of results, each under the digest of its run's spec.

    Parameters
    ----------
    folder : str or Path
        Made when first needed.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, spec: dict, shard: str | None = None) -> Path:
        """Where the result of a run, or of one shard of it, is or would be."""
        return self.folder / f"{self._key(spec, shard)}.nc"

    def parts(self, spec: dict, shard: str | None = None) -> Path:
        """Folder of the finished blocks of a run that is not finished."""
        return self.folder / f"{self._key(spec, shard)}.parts"

    def find(self, spec: dict, shard: str | None = None) -> xr.Dataset | None:
        """Return the stored result of a run, or None; a torn file, or one of another run, is named in a warning."""
        path = self.path(spec, shard)
        if not path.exists():
            return None
        try:
            data = read(path)
        except ValueError as error:
            warnings.warn(f"{error}; the run is done again", stacklevel=2)
            return None
        if json.loads(data.attrs.get("spec", "null")) == spec and data.attrs.get("shard") == shard:
            return data
        warnings.warn(f"{path} holds another run; the run is done again and replaces it", stacklevel=2)
        return None

    def check(self, spec: dict, shard: str | None = None) -> None:
        """Raise OSError, naming the folder, unless a result can be kept there; better now than after the run."""
        check_writable(self.folder / "result.nc")

    def save(self, spec: dict, data: xr.Dataset, shard: str | None = None) -> Path:
        """Keep a result."""
        # Killed while it writes, a run then leaves nothing but the folder that it goes on from.
        parts, path = self.parts(spec, shard), self.path(spec, shard)
        try:
            return write(data, path, parts if parts.is_dir() else None)
        except FileNotFoundError:
            # Another process that ran the same was done, and has cleared up.
            return write(data, path)

    @staticmethod
    def _key(spec: dict, shard: str | None) -> str:
        return digest(spec) if shard is None else f"{digest(spec)}.{shard.replace('/', '-of-')}"


class FileStore(Store):
    """One file for one run, with a folder beside it for the blocks of a run that is not finished.

    Parameters
    ----------
    file : Path
        The file.
    annotate : callable
        Given the Dataset before it is written, to add attributes.
    """

    def __init__(self, file: Path, annotate: Callable[[xr.Dataset], None]):
        super().__init__(file.parent)
        self.file, self.held = file, False
        self._annotate = annotate

    def path(self, spec: dict, shard: str | None = None) -> Path:
        """The file."""
        return self.file

    def parts(self, spec: dict, shard: str | None = None) -> Path:
        """Folder of the finished blocks: each run that is to become the file has its own."""
        return self.folder / f"{self.file.name}.{self._key(spec, shard)}.parts"

    def find(self, spec: dict, shard: str | None = None) -> xr.Dataset | None:
        """Return what the file holds if it is of this run; `held` then is True."""
        data = super().find(spec, shard)
        self.held = data is not None
        return data

    def check(self, spec: dict, shard: str | None = None) -> None:
        """Refuse a file that cannot be written, or that holds what this run must not replace.

        Raises
        ------
        OSError
            Naming the file, if it cannot be written.
        ValueError
            If it holds another shard of this run, or is none of ours.
        """
        check_writable(self.file)
        if self.file.exists():
            with open(self.file, "rb") as file:
                if file.read(4) not in (b"\x89HDF", b""):
                    raise ValueError(f"{self.file} is not a result of escape and would be lost; choose another name")
            held = self._shard_held(spec)
            if held is not None and held != shard:
                raise ValueError(f"{self.file} holds shard {held} of this run; give every shard a file of its own")
        for other in sorted(self.folder.glob(f"{glob.escape(self.file.name)}.*.parts")):
            if other != self.parts(spec, shard):
                warnings.warn(f"{other} holds blocks of another run that was to become this file", stacklevel=2)

    def _shard_held(self, spec: dict) -> str | None:
        """Which shard of this run the file holds, if it does."""
        try:
            attrs = read(self.file).attrs
        except ValueError:
            return None
        return attrs.get("shard") if json.loads(attrs.get("spec", "null")) == spec else None

    def save(self, spec: dict, data: xr.Dataset, shard: str | None = None) -> Path:
        """Write the file."""
        self._annotate(data)
        return super().save(spec, data, shard)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
