"""Does depth speed up ℓp regression? The Ethanol task of Arora, Cohen and Hazan (2018)."""

from flowsim.studies.gas_ethanol.agenda import GasEthanolPlan, plan
from flowsim.studies.gas_ethanol.report import report_gas_ethanol
from flowsim.studies.gas_ethanol.result import GasEthanol

__all__ = ["GasEthanol", "GasEthanolPlan", "plan", "report_gas_ethanol"]
