"""flowsim: a laboratory for gradient flow.

State a loss and a parametrization; flowsim derives the differential equation that training
follows, lowers it to a vector field, integrates it, runs gradient descent beside it, and says how
far apart the two are and which curvature is to blame.

Names are loaded when first used, so that ``import flowsim`` loads neither JAX nor matplotlib.
"""

# pyright: reportUnsupportedDunderAll=false

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "WeightNormalized": "flowsim.problems",
    "TwoLayer": "flowsim.problems",
    "SymmetricFactorization": "flowsim.problems",
    "ScaledVector": "flowsim.problems",
    "ReLUPaths": "flowsim.problems",
    "Parametrization": "flowsim.problems",
    "HierarchicalTucker": "flowsim.problems",
    "DiagonalProduct": "flowsim.problems",
    "Diagonal": "flowsim.problems",
    "CP": "flowsim.problems",
    "BalanceWarning": "flowsim._errors",
    "Comparison": "flowsim.comparison",
    "DatasetError": "flowsim._errors",
    "DeepLinear": "flowsim.problems",
    "EndToEnd": "flowsim.symbolic",
    "FlowsimError": "flowsim._errors",
    "HypothesisError": "flowsim._errors",
    "Identity": "flowsim.problems",
    "InputError": "flowsim._errors",
    "IntegrationError": "flowsim._errors",
    "LoweringError": "flowsim._errors",
    "LpLoss": "flowsim.problems",
    "PrecisionError": "flowsim._errors",
    "Problem": "flowsim.problems",
    "Reason": "flowsim._result",
    "Result": "flowsim._result",
    "StorageError": "flowsim._errors",
    "ToleranceWarning": "flowsim._errors",
    "Trajectory": "flowsim.trajectory",
    "VectorField": "flowsim.lowering",
    "compare": "flowsim.comparison",
    "derive": "flowsim.symbolic",
    "descend": "flowsim.descent",
    "float64": "flowsim._precision",
    "integrate": "flowsim.integration",
    "load": "flowsim.trajectory",
}
_MODULES = {
    "datasets": "flowsim.problems.datasets",
    "functions": "flowsim.problems.functions",
}

__all__ = [*_PUBLIC, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("flowsim")
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    from flowsim._checks import nearest

    raise AttributeError(f"module 'flowsim' has no attribute {name!r}.{nearest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
