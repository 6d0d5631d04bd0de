"""Data sets: what is checked, and what is said when a file is missing or is another."""

import numpy as np
import pytest

from flowsim import datasets
from flowsim._errors import DatasetError


@pytest.fixture(scope="module")
def gas():
    return datasets.gas_ethanol()


def test_gas_ethanol_is_standardised(gas):
    assert gas.X.shape == (2565, 128)
    assert gas.y.shape == (2565,)
    assert gas.X.dtype == gas.y.dtype == np.float64
    assert np.abs(gas.X.mean(axis=0)).max() <= 1e-12
    assert np.abs(gas.X.std(axis=0) - 1).max() <= 1e-12
    assert abs(gas.y.mean()) <= 1e-12
    assert abs(gas.y.std() - 1) <= 1e-12


def test_gas_ethanol_has_the_published_optimum(gas):
    best = np.linalg.lstsq(gas.X, gas.y, rcond=None)[0]
    assert abs(np.mean((gas.X @ best - gas.y) ** 2) / 0.0999862925 - 1) <= 1e-9


def test_digits_need_no_file():
    digits = datasets.digits()
    assert digits.X.shape == (1797, 64)
    assert digits.X.min() == 0
    assert digits.X.max() == 1
    assert set(digits.y) == set(range(10))


def test_a_missing_file_says_where_to_put_it(tmp_path):
    with pytest.raises(
        DatasetError,
        match=r"nowhere\.npz does not exist.*data/gas_ethanol/.*"
        r"environment variable FLOWSIM_DATA",
    ):
        datasets.gas_ethanol(tmp_path / "nowhere.npz")


def test_the_environment_names_the_folder(tmp_path, monkeypatch, gas):
    original = datasets._default_file()
    monkeypatch.setenv("FLOWSIM_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=rf"{tmp_path}.*does not exist"):
        datasets.gas_ethanol()
    (tmp_path / datasets.GAS_ETHANOL_FILE).write_bytes(original.read_bytes())
    again = datasets.gas_ethanol()
    np.testing.assert_array_equal(again.X, gas.X)
    assert again.checksum == gas.checksum


def test_a_changed_file_is_refused(tmp_path):
    content = bytearray(datasets._default_file().read_bytes())
    content[1000] ^= 1
    (tmp_path / "changed.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"changed\.npz has SHA-256 .*is expected.*copy it"):
        datasets.gas_ethanol(tmp_path / "changed.npz")
