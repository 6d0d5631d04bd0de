"""Data sets: the gas-sensor regression task, and scikit-learn's digits."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from pathlib import Path

import numpy as np

from flowsim._errors import DatasetError

GAS_ETHANOL_FILE = "gas_ethanol_2565.npz"
GAS_ETHANOL_SHA256 = "7e91f62e22f9c7b888fb7076813d9cae70e80d06ed05fd1c7d582e12a0828105"
#: Environment variable that names the folder of data files, for installations without a checkout.
DATA_VARIABLE = "FLOWSIM_DATA"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Inputs and labels of a supervised task.

    Attributes
    ----------
    X
        Inputs, shape (m, d), float64.
    y
        Labels, shape (m,), float64.
    name, source
        What it is and where it comes from.
    checksum
        SHA-256 of the file that it was read from; empty where the data come with a library.
    """

    X: np.ndarray
    y: np.ndarray
    name: str
    source: str
    checksum: str = ""


def read_verified(file: Path, sha256: str) -> bytes:
    """Return the content of a data file whose checksum is the one expected, or DatasetError."""
    content = file.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != sha256:
        raise DatasetError(
            f"{file} has SHA-256 {checksum}, where {sha256} is expected. The file is damaged or "
            "of another version; copy it again from the repository."
        )
    return content


def gas_ethanol(path: str | os.PathLike[str] | None = None) -> Dataset:
    """The Ethanol task of the gas-sensor array data, 2,565 examples of 128 features.

    Columns of X and the concentrations y are standardised (population standard deviation), as the
    published curves of Arora, Cohen and Hazan (2018, arXiv:1802.06509) require. With the loss
    mean (x·w - y)^p the optimum is 0.0999862925 for p = 2 and 0.2214169 for p = 4.

    Parameters
    ----------
    path
        The file; by default ``gas_ethanol_2565.npz`` in the folder named by the environment
        variable ``FLOWSIM_DATA``, or else in ``data/gas_ethanol`` of the source checkout.

    Raises
    ------
    DatasetError
        If the file is missing, saying where to put it, or is not the one expected.

    References
    ----------
    A. Vergara et al., Sensors and Actuators B 166 (2012). I. Rodriguez-Lujan et al., Chemometrics
    and Intelligent Laboratory Systems 130 (2014). DOI 10.24432/C5MK6M.
    """
    file = Path(path) if path is not None else _default_file()
    if not file.is_file():
        raise DatasetError(
            f"{file} does not exist. The gas-sensor data are not part of the installed package: "
            f"work from a checkout of the repository, which has data/gas_ethanol/"
            f"{GAS_ETHANOL_FILE}, or put that file in a folder and name the folder in the "
            f"environment variable {DATA_VARIABLE}."
        )
    content = read_verified(file, GAS_ETHANOL_SHA256)
    with np.load(io.BytesIO(content)) as arrays:
        X, y = arrays["X"].astype(np.float64), arrays["ppm"].astype(np.float64)
    return Dataset(
        X=(X - X.mean(axis=0)) / X.std(axis=0),
        y=(y - y.mean()) / y.std(),
        name="gas-ethanol",
        source="UCI Gas Sensor Array Drift at Different Concentrations, DOI 10.24432/C5MK6M",
        checksum=GAS_ETHANOL_SHA256,
    )


def digits() -> Dataset:
    """Scikit-learn's bundled digits: 1,797 images of 8 by 8 pixels, inputs scaled to [0, 1]."""
    from sklearn.datasets import load_digits

    bundled = load_digits(return_X_y=True)
    X, y = np.asarray(bundled[0]), np.asarray(bundled[1])
    return Dataset(
        X=X / 16.0,
        y=y.astype(np.float64),
        name="digits",
        source="UCI Optical Recognition of Handwritten Digits, as bundled with scikit-learn",
    )


def _default_file() -> Path:
    if folder := os.environ.get(DATA_VARIABLE):
        return Path(folder) / GAS_ETHANOL_FILE
    return Path(__file__).parents[2] / "data" / "gas_ethanol" / GAS_ETHANOL_FILE
