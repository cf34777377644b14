"""The configuration of commands that need to know the contracts, and nothing else of the edge."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from busgate.bus.tables import Names, Table, is_like
from busgate.contracts import Call
from busgate.contracts.openapi import TITLE, VERSION
from busgate.contracts.security import KEY_HEADER, Doors

from .settings import AuditPlace, WorkerProcess


class DocumentHead(Table):
    """What of [edge.docs] stands in the API document."""

    model_config = ConfigDict(extra="ignore")

    title: str = TITLE
    version: str = VERSION
    description: str = ""


class SignatureHead(Table):
    """Whether requests may be signed."""

    model_config = ConfigDict(extra="ignore")

    keys: tuple[object, ...] = ()


class ApiKeyHead(Table):
    """Whether there are API keys, and what they come in."""

    model_config = ConfigDict(extra="ignore")

    file: object = None
    header: str = KEY_HEADER


class PreCallTopic(Table):
    """What of [edge.pre_call] names the service that decides who calls."""

    model_config = ConfigDict(extra="ignore")

    topic: str


class ContractModules(Table):
    """What of [edge] contracts and the broker need. The rest is left alone: its secrets need not be on this machine."""

    model_config = ConfigDict(extra="ignore")

    contracts: Names = ()
    docs: DocumentHead = DocumentHead()
    audit: AuditPlace = AuditPlace()
    jwt: tuple[object, ...] = ()
    signature: SignatureHead = SignatureHead()
    api_keys: ApiKeyHead = ApiKeyHead()
    pre_call: PreCallTopic | None = None
    mock: Names = ()

    def mocks(self, call: Call[Any, Any]) -> bool:
        """Whether edges answer it by its examples, so that no service is needed."""
        return is_like(call.topic, self.mock)

    @property
    def doors(self) -> Doors:
        """What the API document says of authentication; where nothing is configured, what the contracts say."""
        configured = {"jwt": self.jwt, "signature": self.signature.keys, "key": self.api_keys.file}
        schemes = frozenset(name for name, given in configured.items() if given)
        if not schemes:
            return Doors()
        return Doors(lambda call: frozenset(call.schemes) & schemes or schemes, self.api_keys.header)


class ServiceNames(Table):
    """What of [worker] names services."""

    model_config = ConfigDict(extra="ignore")

    services: Names = ()


class CatalogProcess(WorkerProcess):
    """What `topology` and `openapi` read."""

    edge: ContractModules = ContractModules()


class NamedModules(BaseModel):
    """What a configuration names to import, whatever else is wrong with it."""

    edge: ContractModules = ContractModules()
    worker: ServiceNames = ServiceNames()
