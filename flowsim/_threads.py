"""One LAPACK thread where matrices are small.

Stiff integration factorises matrices of a few hundred rows many thousand times. Shared among
OpenBLAS's threads that work is slower on an idle machine and up to ten times slower on a busy one,
because each call waits until every thread has had its turn.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """A context in which BLAS and LAPACK run in the calling thread alone."""
    return _controller().limit(limits=1, user_api="blas")
