"""What of the configuration `busgate keys` reads."""

from pydantic import ConfigDict

from busgate.bus.tables import PlacedFile, Table
from busgate.edge.stores.settings import StoreSettings


class KeyFileTable(Table):
    """What of [edge.api_keys] says where the keys are. The file need not be there yet."""

    model_config = ConfigDict(extra="ignore")

    file: PlacedFile | None = None


class PlanName(Table):
    """What of [[edge.plan]] keys name."""

    model_config = ConfigDict(extra="ignore")

    name: str


class EdgeWithKeys(Table):
    """What of [edge] is about API keys. The rest is left alone: its secrets need not be on this machine."""

    model_config = ConfigDict(extra="ignore")

    api_keys: KeyFileTable = KeyFileTable()
    plan: tuple[PlanName, ...] = ()


class KeysProcess(Table):
    """What `keys` reads."""

    edge: EdgeWithKeys = EdgeWithKeys()


class EdgeWithStore(Table):
    """What of [edge] says where the last use of a key is noted."""

    model_config = ConfigDict(extra="ignore")

    store: StoreSettings = StoreSettings()


class StoreProcess(Table):
    """What `keys list` reads beside."""

    edge: EdgeWithStore = EdgeWithStore()
