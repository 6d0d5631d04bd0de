"""Trajectories as labelled data, and on disk.

Files are netCDF. They are written to a temporary file that is flushed and renamed into place, so
that a killed run leaves the old file or the new one, never a torn one; a checksum of the content
stands in the file and is verified when it is read.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from flowsim._errors import StorageError
from flowsim._result import Reason, Result
from flowsim.trajectory.trajectory import Trajectory

_FORMAT = "flowsim trajectory 1"


def provenance() -> dict[str, str]:
    """Versions of what computed a result, and when."""
    from datetime import UTC, datetime

    versions = {
        name: importlib.metadata.version(name)
        for name in ("flowsim", "numpy", "scipy", "sympy", "jax", "diffrax", "optax")
    }
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(versions),
    }


def to_xarray(trajectory: Trajectory) -> xr.Dataset:
    """Label a trajectory: variables ``loss``, ``end_to_end`` and one for each leaf of the state."""
    variables: dict[str, Any] = {"loss": ("t", trajectory.loss)}
    if trajectory.end_to_end is not None:
        ranks = {1: ("t",), 2: ("t", "input"), 3: ("t", "output", "input")}
        more = trajectory.end_to_end.ndim - 1
        names = ranks.get(more + 1, ("t", *(f"mode_{n}" for n in range(1, more + 1))))
        variables["end_to_end"] = (names, trajectory.end_to_end)
    leaves = jax.tree_util.tree_leaves_with_path(trajectory.states)
    for i, (_, leaf) in enumerate(leaves):
        axes = tuple(f"state_{i}_axis_{a}" for a in range(leaf.ndim - 1))
        variables[f"state_{i}"] = (("t", *axes), leaf)
    if "iterations" in trajectory.stats:
        variables["iteration"] = ("t", trajectory.stats["iterations"])
    coordinates: dict[str, Any] = {"t": trajectory.ts}
    if trajectory.drift is not None:
        coordinates["law"] = list(trajectory.drift)
        variables["drift"] = (("law", "t"), np.stack(list(trajectory.drift.values())))
    result = trajectory.result
    stats = {key: value for key, value in trajectory.stats.items() if key != "iterations"}
    attributes = {
        "format": _FORMAT,
        "tree": _describe(trajectory.states),
        "state_paths": json.dumps([jax.tree_util.keystr(path) for path, _ in leaves]),
        "stats": json.dumps(stats),
        "settings": json.dumps(trajectory.settings, default=str),
        "result": json.dumps([result.name, result.detail, result.blow_up_time]),
        **provenance(),
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attributes)


def save(trajectory: Trajectory, path: str | os.PathLike[str]) -> None:
    """Write a trajectory to a netCDF file.

    Raises
    ------
    StorageError
        If the state holds a container that :func:`load` could not rebuild.
    """
    if strange := _strange_container(trajectory.states):
        raise StorageError(
            f"the state holds a {strange}, which would not come back from a file. Make the state "
            "of dicts, lists and tuples, or save trajectory.to_xarray() yourself."
        )
    write_netcdf(to_xarray(trajectory), path)


def load(path: str | os.PathLike[str]) -> Trajectory:
    """Read a trajectory that :meth:`Trajectory.save` wrote.

    Times, states, loss, costs and the reason for stopping come back as they were; the problem does
    not, so the loaded run cannot be continued between its records.

    Raises
    ------
    StorageError
        If the file is not one of flowsim's, or its checksum fails.
    """
    data = read_netcdf(path)
    if data.attrs.get("format") != _FORMAT:
        raise StorageError(
            f"{path} is not a saved trajectory: its format is {data.attrs.get('format')!r}, where "
            f"{_FORMAT!r} is expected."
        )
    name, detail, blow_up_time = json.loads(data.attrs["result"])
    stats = json.loads(data.attrs["stats"])
    if "iteration" in data:
        stats["iterations"] = data["iteration"].values
    leaves = [data[f"state_{i}"].values for i in range(len(json.loads(data.attrs["state_paths"])))]
    return Trajectory(
        ts=data["t"].values,
        states=_rebuild(json.loads(data.attrs["tree"]), iter(leaves)),
        loss=data["loss"].values,
        end_to_end=data["end_to_end"].values if "end_to_end" in data else None,
        stats=stats,
        result=Result(Reason[name], detail, blow_up_time),
        settings=json.loads(data.attrs["settings"]),
        drift=_read_drift(data),
    )


def _read_drift(data: xr.Dataset) -> dict[str, np.ndarray] | None:
    if "drift" not in data:
        return None
    return {str(law.item()): data["drift"].sel(law=law).values for law in data["law"]}


def write_netcdf(data: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a Dataset with its checksum, through a temporary file in the same folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stamped = data.assign_attrs(checksum=_checksum(data))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's own mode shuts everyone else out
        stamped.to_netcdf(temporary, engine="h5netcdf")
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_netcdf(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a Dataset that :func:`write_netcdf` wrote, and verify its checksum."""
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"{path} does not exist.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            data = opened.load()
    except Exception as error:  # every kind of damage raises its own exception below
        raise StorageError(f"{path} cannot be read as netCDF: {error}") from None
    expected = data.attrs.pop("checksum", None)
    if expected != _checksum(data):
        raise StorageError(f"{path} is damaged: its checksum does not fit its content.")
    return data


def _checksum(data: xr.Dataset) -> str:
    """SHA-256 of the variables, the names of their dimensions, and the attributes."""
    digest = hashlib.sha256()
    for name in sorted(map(str, data.variables)):
        values = np.ascontiguousarray(data[name].values)
        digest.update(repr((name, data[name].dims, str(values.dtype), values.shape)).encode())
        digest.update(values.tobytes())
    for name in sorted(map(str, data.attrs)):
        digest.update(repr((name, _plain(data.attrs[name]))).encode())
    return digest.hexdigest()


def _plain(attribute: Any) -> Any:
    """An attribute in the form in which a file gives it back."""
    return attribute.tolist() if isinstance(attribute, (np.ndarray, np.generic)) else attribute


def _umask() -> int:
    """The mask that takes permissions away from new files; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


_CONTAINERS = (dict, list, tuple, type(None))


def _strange_container(tree: Any) -> str:
    """Name of the first container that is not exactly a dict, list, tuple or None, or ''."""
    if type(tree) not in _CONTAINERS:
        return "" if hasattr(tree, "shape") else type(tree).__name__
    if isinstance(tree, dict):
        for key in tree:
            if type(key) not in (str, int):
                return f"dict with the key {key!r}"
    children = tree.values() if isinstance(tree, dict) else tree or ()
    return next(filter(None, map(_strange_container, children)), "")


def _describe(tree: Any) -> str:
    """The structure of a pytree of dicts, lists and tuples, as JSON."""

    def describe(node: Any) -> Any:
        if isinstance(node, dict):
            return {"dict": [[key, describe(node[key])] for key in sorted(node)]}
        if isinstance(node, (tuple, list)):
            return {type(node).__name__: [describe(child) for child in node]}
        if node is None:
            return None
        return "leaf" if hasattr(node, "shape") else "opaque"

    return json.dumps(describe(tree))


def _rebuild(description: Any, leaves: Any) -> Any:
    if description is None:
        return None
    if description == "leaf":
        return next(leaves)
    if isinstance(description, dict) and "dict" in description:
        return {key: _rebuild(child, leaves) for key, child in description["dict"]}
    if isinstance(description, dict):
        ((kind, children),) = description.items()
        rebuilt = [_rebuild(child, leaves) for child in children]
        return tuple(rebuilt) if kind == "tuple" else rebuilt
    raise StorageError("the saved state is not made of dicts, lists and tuples of arrays.")
