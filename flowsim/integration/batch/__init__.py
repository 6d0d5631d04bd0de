"""Batches: many integrations at once, without waiting for one another."""

from flowsim.integration.batch.batch import integrate_batch
from flowsim.integration.batch.inputs import is_batch
from flowsim.integration.batch.result import Batch, BatchError

__all__ = ["Batch", "BatchError", "integrate_batch", "is_batch"]
