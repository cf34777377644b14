"""The configuration of commands that need to know the contracts, and nothing else of the edge."""

from pydantic import ConfigDict

from busgate.bus.tables import Names, Table

from .settings import WorkerProcess


class ContractModules(Table):
    """What of [edge] names contracts. The rest is left alone: its secrets need not be on this machine."""

    model_config = ConfigDict(extra="ignore")

    contracts: Names = ()


class CatalogProcess(WorkerProcess):
    """What `topology` and `openapi` read."""

    edge: ContractModules = ContractModules()
