"""Studies with a name: what the command line lists and runs."""

from flowsim.studies.registry import STUDIES, Study

__all__ = ["STUDIES", "Study"]
