"""Trajectories on disk: what comes back, what is refused, and that damage never passes."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict, namedtuple

import jax
import numpy as np
import pytest
import xarray as xr

import flowsim as fs
from flowsim._errors import StorageError
from flowsim._result import Reason, Result
from flowsim.trajectory import storage

T = 6
RNG = np.random.default_rng(8)
Pair = namedtuple("Pair", "first second")

STATES = {
    "array (T, 3)": RNG.normal(size=(T, 3)),
    "tuple (T, 2, 3), (T, 1, 2)": (RNG.normal(size=(T, 2, 3)), RNG.normal(size=(T, 1, 2))),
    "list of one": [RNG.normal(size=(T, 2))],
    "dict": {"w": RNG.normal(size=(T, 2)), "b": RNG.normal(size=(T, 1))},
    "nested": {
        "z": [RNG.normal(size=(T, 2)), (RNG.normal(size=(T,)),)],
        "a": {"b": np.ones((T, 1))},
    },
    "with None": {"w": RNG.normal(size=(T, 2)), "nothing": None},
    "float32": RNG.normal(size=(T, 3)).astype(np.float32),
    "scalars (T,)": RNG.normal(size=T),
}


def trajectory(states, **changes):
    return fs.Trajectory(
        ts=np.linspace(0.0, 1.0, T),
        states=states,
        loss=np.array([3.0, 2.0, 1.0, np.nan, 0.5, 1e-320]),
        end_to_end=changes.pop("end_to_end", RNG.normal(size=(T, 3))),
        stats={"gradients": 17, "rejected": None, "seconds": 0.25},
        result=Result(Reason.blow_up, "It was “so”.", 1.25),
        settings={"solver": "dopri8", "rtol": 1e-8, "strategy": "factors"},
        **changes,
    )


def assert_same(loaded, saved):
    np.testing.assert_array_equal(loaded.ts, saved.ts)
    np.testing.assert_array_equal(loaded.loss, saved.loss)
    assert jax.tree.structure(loaded.states) == jax.tree.structure(saved.states)
    for a, b in zip(jax.tree.leaves(loaded.states), jax.tree.leaves(saved.states), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    if saved.end_to_end is None:
        assert loaded.end_to_end is None
    else:
        np.testing.assert_array_equal(loaded.end_to_end, saved.end_to_end)
    assert loaded.result == saved.result
    assert loaded.stats == saved.stats
    assert loaded.settings == saved.settings


@pytest.mark.parametrize("name", STATES)
def test_a_saved_trajectory_comes_back(name, tmp_path):
    saved = trajectory(STATES[name])
    saved.save(tmp_path / "run.nc")
    assert_same(fs.load(tmp_path / "run.nc"), saved)
    assert os.listdir(tmp_path) == ["run.nc"]


def test_no_end_to_end_value_and_matrices_come_back(tmp_path):
    for i, end_to_end in enumerate((None, RNG.normal(size=(T, 2, 3)))):
        saved = trajectory(STATES["dict"], end_to_end=end_to_end)
        saved.save(tmp_path / f"{i}.nc")
        assert_same(fs.load(tmp_path / f"{i}.nc"), saved)


def test_iterations_come_back_as_integers(tmp_path):
    saved = trajectory(STATES["dict"])
    iterations = np.array([0, 1, 10, 100, 1000, 10_000])
    saved.stats["iterations"] = iterations
    saved.save(tmp_path / "run.nc")
    loaded = fs.load(tmp_path / "run.nc").stats["iterations"]
    np.testing.assert_array_equal(loaded, iterations)
    assert loaded.dtype.kind == "i"


@pytest.mark.parametrize(
    "states",
    [
        Pair(np.ones((T, 1)), np.zeros((T, 1))),
        OrderedDict(b=np.ones((T, 1)), a=np.zeros((T, 1))),
    ],
    ids=["namedtuple", "OrderedDict"],
)
def test_containers_that_would_not_come_back_are_refused_when_saved(states, tmp_path):
    with pytest.raises(StorageError, match=rf"{type(states).__name__}.*dicts, lists and tuples"):
        trajectory(states).save(tmp_path / "run.nc")
    assert os.listdir(tmp_path) == []


def test_the_dataset_is_labelled_and_stamped():
    data = trajectory(STATES["dict"], end_to_end=RNG.normal(size=(T, 2, 3))).to_xarray()
    assert data["end_to_end"].dims == ("t", "output", "input")
    assert data["loss"].dims == ("t",)
    assert data.attrs["state_paths"] == "[\"['b']\", \"['w']\"]"
    for stamp in ("versions", "created", "settings", "stats", "result"):
        assert data.attrs[stamp]
    assert "jax" in data.attrs["versions"]


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "run.nc"
    run = trajectory(STATES["tuple (T, 2, 3), (T, 1, 2)"])
    run.save(path)
    return run, path.read_bytes()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"absent\.nc does not exist"):
        fs.load(tmp_path / "absent.nc")


@pytest.mark.parametrize("content", [b"", b"not netCDF at all", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_another_file_is_refused(content, tmp_path):
    (tmp_path / "other.nc").write_bytes(content)
    with pytest.raises(StorageError, match=r"other\.nc cannot be read as netCDF"):
        fs.load(tmp_path / "other.nc")


def test_another_dataset_is_refused(tmp_path):
    data = xr.Dataset({"x": ("t", np.ones(3))})
    data.to_netcdf(tmp_path / "plain.nc", engine="h5netcdf")
    with pytest.raises(StorageError, match=r"plain\.nc .*checksum"):
        fs.load(tmp_path / "plain.nc")
    storage.write_netcdf(data, tmp_path / "ours.nc")
    with pytest.raises(StorageError, match=r"ours\.nc is not a saved trajectory: its format"):
        fs.load(tmp_path / "ours.nc")


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(fraction, saved_run, tmp_path):
    _, content = saved_run
    (tmp_path / "cut.nc").write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(StorageError, match=r"cut\.nc (cannot be read|is damaged)"):
        fs.load(tmp_path / "cut.nc")


# h5netcdf's own destructor complains of files that it could not open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_flipped_bit_is_refused_or_harmless(saved_run, tmp_path):
    run, content = saved_run
    path = tmp_path / "flipped.nc"
    refused = 0
    positions = np.linspace(8, len(content) - 1, 60).astype(int)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            loaded = fs.load(path)
        except StorageError:
            refused += 1
        else:
            assert_same(loaded, run)
    assert refused >= 5  # the rest fell on padding of the format


@pytest.mark.parametrize(
    "attribute", ["result", "stats", "settings", "tree", "state_paths", "versions"]
)
def test_a_changed_attribute_is_refused(attribute, saved_run, tmp_path):
    """What a run says of itself is under the checksum, like its numbers."""
    _, content = saved_run
    path = tmp_path / "changed.nc"
    path.write_bytes(content)
    import h5py

    with h5py.File(path, "r+") as file:
        text = file.attrs[attribute]
        position = next(i for i, letter in enumerate(text) if letter.isalnum())
        file.attrs[attribute] = text[:position] + "7" + text[position + 1 :]
    with pytest.raises(StorageError, match="damaged"):
        fs.load(path)


def test_a_failed_save_leaves_the_old_file(saved_run, tmp_path, monkeypatch):
    run, _ = saved_run
    path = tmp_path / "run.nc"
    run.save(path)
    before = path.read_bytes()

    def disk_full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", disk_full)
    with pytest.raises(OSError, match="no space left"):
        dataclasses.replace(run, ts=run.ts + 1).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.nc"]


KILLED = """
import sys, numpy as np
from flowsim.trajectory import storage
import xarray as xr
data = xr.Dataset({"x": ("t", np.zeros(400_000))})
storage.write_netcdf(data, sys.argv[1])
print("ready", flush=True)
i = 0
while True:
    i += 1
    storage.write_netcdf(data.assign(x=data.x + i), sys.argv[1])
"""


@pytest.mark.slow
def test_a_killed_run_leaves_a_whole_file(tmp_path):
    path = tmp_path / "run.nc"
    for delay in (0.02, 0.055, 0.09, 0.13):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        x = storage.read_netcdf(path)["x"].values
        assert (x == x[0]).all()


def test_folders_are_made_and_permissions_are_those_of_any_new_file(saved_run, tmp_path):
    run, _ = saved_run
    run.save(tmp_path / "deep" / "er" / "run.nc")
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "deep/er/run.nc").stat().st_mode == plain.stat().st_mode
