"""The tools of the moment, from several sources: those built in stay, plugins come and go."""

import logging
from collections.abc import Callable, Iterable

from opencrust_agent.tools.tool import Tool

log = logging.getLogger(__name__)

ToolSource = Callable[[], Iterable[Tool]]
"""Gives its tools as they are now; asked once a turn, so it must not do input or output."""


class ToolRegistry:
    """All tools by name. On a clash the source that was added first wins: no plugin takes a built-in's name."""

    def __init__(self, *sources: ToolSource) -> None:
        self._sources = list(sources)
        self._clashes: set[str] = set()

    def add(self, source: ToolSource) -> None:
        """Ask ``source`` too, after those before it."""
        self._sources.append(source)

    def now(self) -> dict[str, Tool]:
        """The tools as they are now. A turn keeps what it was given at its beginning."""
        tools: dict[str, Tool] = {}
        for source in self._sources:
            for tool in source():
                name = tool.spec.name
                if name not in tools:
                    tools[name] = tool
                elif name not in self._clashes:
                    self._clashes.add(name)
                    log.error("a second tool named %s is left out", name)
        return tools
