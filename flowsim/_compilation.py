"""Compiled programs that outlive the process."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from flowsim._errors import InputError


def cache_compilations(directory: str | os.PathLike[str]) -> None:
    """Keep what JAX compiles in a directory, so that later processes need not compile it again.

    A first run spends most of its time in compiling the solver together with the field. The cache
    belongs to JAX, serves everything that the process compiles from then on, and is found again by
    the program's own text: other data and tolerances hit it, another field or size does not.

    Parameters
    ----------
    directory
        Where to keep it; made if it does not exist.

    Raises
    ------
    InputError
        If the path is not one that can be a directory.
    """
    try:
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, TypeError) as error:
        raise InputError(
            f"directory is {directory!r}, which cannot be a directory ({error}). Pass a path that "
            "may be written to."
        ) from None
    jax.config.update("jax_compilation_cache_dir", str(path))
    # JAX keeps only what took a second to compile; a run is made of smaller programs as well.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
