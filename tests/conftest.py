"""Every test runs with the shapes in flowsim's numerical signatures checked.

jaxtyping's import hook has to be in place before flowsim is imported; pytest loads this file first.
"""

from importlib.util import find_spec

from jaxtyping import install_import_hook

# The packages whose values are arrays. The symbolic half has no shapes that a run could check.
NUMERICAL = (
    "flowsim.problems",
    "flowsim.lowering",
    "flowsim.trajectory",
    "flowsim.integration",
    "flowsim.descent",
    "flowsim.curvature",
    "flowsim.comparison",
)

# test_packaging.py fails where beartype is missing, so that the check cannot be lost unnoticed.
if find_spec("beartype"):
    install_import_hook(NUMERICAL, "beartype.beartype")
