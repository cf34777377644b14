"""The table [edge.audit]: whether calls are audited, where the records go, and what happens when they cannot."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from busgate.bus.tables import Kind, Table


def _place(name: Path, info: ValidationInfo) -> Path:
    path = Path((info.context or {}).get("folder", "")) / name
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}")
    if path.exists() and not path.is_file() and not path.is_char_device():
        raise ValueError(f"{path} is not a file")
    return path


class AuditSettings(Table):
    """The table [edge.audit]: one record of each call for those who must know later who did what.

    Args:
        to: where records go: a `file`, `stdout`, the `exchange` busgate.audit of the broker, or `nowhere`.
        file: that file. Lines are added at its end; one that was rotated away is opened anew.
        loss: `counted`: records that cannot be written are dropped and counted. `never`: then calls are refused.
        buffer: bytes of records that wait for a slow file, stream or broker.
    """

    to: Literal["nowhere", "file", "stdout", "exchange"] = "nowhere"
    file: Annotated[Path, AfterValidator(_place), Kind("file")] | None = None
    loss: Literal["counted", "never"] = "counted"
    buffer: int = Field(8 * 1024 * 1024, ge=64 * 1024, le=1024 * 1024 * 1024)

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if (self.to == "file") != (self.file is not None):
            raise ValueError('to = "file" and file = "..." go together')
        return self
