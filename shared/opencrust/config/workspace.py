"""How much the files may be that the agent keeps for people."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class WorkspaceSettings(BaseModel):
    """Under ``agent.workspace`` in the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    max_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    """All files together."""
    max_file_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024
    """One file that is written."""
    max_files: Annotated[int, Field(ge=0)] = 2000
    """Files and folders together."""
