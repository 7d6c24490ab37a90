"""Where tools may connect to besides the public internet: the operator's word, never the model's."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class EgressSettings(BaseModel):
    """Under ``agent.egress`` in the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    allow: tuple[Annotated[str, StringConstraints(min_length=1, max_length=300)], ...] = Field(
        default=(), max_length=200
    )
    """Hosts, addresses and networks, with a port or for all: ``nas.lan``, ``192.168.1.0/24``, ``127.0.0.1:8123``."""
