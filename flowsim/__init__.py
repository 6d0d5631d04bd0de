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
    "BalanceWarning": "flowsim._errors",
    "CP": "flowsim.problems",
    "Comparison": "flowsim.comparison",
    "DatasetError": "flowsim._errors",
    "DeepLinear": "flowsim.problems",
    "Diagonal": "flowsim.problems",
    "DiagonalProduct": "flowsim.problems",
    "EndToEnd": "flowsim.symbolic",
    "FlowsimError": "flowsim._errors",
    "HierarchicalTucker": "flowsim.problems",
    "HypothesisError": "flowsim._errors",
    "Identity": "flowsim.problems",
    "InputError": "flowsim._errors",
    "IntegrationError": "flowsim._errors",
    "Loop": "flowsim.instruments",
    "LoweringError": "flowsim._errors",
    "LpLoss": "flowsim.problems",
    "Minimum": "flowsim.integration",
    "MonotonyWarning": "flowsim._errors",
    "Parametrization": "flowsim.problems",
    "PrecisionError": "flowsim._errors",
    "Problem": "flowsim.problems",
    "PushforwardLaw": "flowsim.symbolic",
    "ReLUPaths": "flowsim.problems",
    "Reason": "flowsim._result",
    "Result": "flowsim._result",
    "ScaledVector": "flowsim.problems",
    "StorageError": "flowsim._errors",
    "SymmetricFactorization": "flowsim.problems",
    "ToleranceWarning": "flowsim._errors",
    "Trajectory": "flowsim.trajectory",
    "TwoLayer": "flowsim.problems",
    "VectorField": "flowsim.lowering",
    "WeightNormalized": "flowsim.problems",
    "antisymmetric_part": "flowsim.instruments",
    "cache_compilations": "flowsim._compilation",
    "classify_stationary": "flowsim.curvature",
    "closed_form": "flowsim.theory",
    "closed_form_reasons": "flowsim.theory",
    "closure": "flowsim.symbolic.closure",
    "compare": "flowsim.comparison",
    "conservation_laws": "flowsim.symbolic.conservation",
    "derive": "flowsim.symbolic",
    "descend": "flowsim.descent",
    "drift": "flowsim.instruments",
    "float64": "flowsim._precision",
    "hessian_metric": "flowsim.symbolic.mirror",
    "integrate": "flowsim.integration",
    "is_gradient_field": "flowsim.symbolic.regularizers",
    "load": "flowsim.trajectory",
    "loop_integral": "flowsim.instruments",
    "memory_coefficients": "flowsim.instruments",
    "mirror": "flowsim.symbolic.mirror",
    "mirror_limit": "flowsim.instruments",
    "modified_equation": "flowsim.symbolic.modified",
    "modified_loss": "flowsim.symbolic.modified",
    "paper_loop": "flowsim.instruments",
    "paper_loop_integral": "flowsim.instruments",
    "path_dependence": "flowsim.instruments",
    "sector_loop": "flowsim.instruments",
    "sector_loop_integral": "flowsim.instruments",
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
