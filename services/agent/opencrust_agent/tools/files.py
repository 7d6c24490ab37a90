"""``file_*``: a person's files in the workspace. The owner's lie in ``owner``, others' in a folder each."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from opencrust.config.workspace import WorkspaceSettings
from opencrust.contracts import Trust
from opencrust_agent.tools.tool import Effect, Tool, ToolContext, ToolResult, ToolSpec
from opencrust_agent.tools.workspace import FilesError, Workspace

MAX_SHOWN = 14_000
MAX_SEARCHED = 4 * 1024 * 1024
MAX_HITS = 50
_PATH = {"type": "string", "minLength": 1, "maxLength": 500, "description": "relative, such as notes/todo.md"}

Do = Callable[[Workspace, dict[str, Any], ToolContext], ToolResult]


class FileTool:
    """One of them: a spec, and what it does in a thread."""

    def __init__(self, spec: ToolSpec, do: Do, root: Path, settings: Callable[[], WorkspaceSettings]) -> None:
        self.spec = spec
        self._do = do
        self._root = root
        self._settings = settings

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """See the spec."""
        workspace = Workspace(self._root / folder_of(context), self._settings())
        try:
            return await asyncio.to_thread(self._do, workspace, arguments, context)
        except FilesError as error:
            return ToolResult(f"Not done: {error}.", failed=True)


def folder_of(context: ToolContext) -> str:
    """Whose files: a readable name, and enough of a hash that no two people share it."""
    if context.trust is Trust.OWNER:
        return "owner"
    person = context.person
    identity = "\0".join((person.channel, person.account, person.user))
    name = re.sub(r"[^a-zA-Z0-9]+", "-", f"{person.channel}-{person.user}")[:40]
    return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def file_tools(root: Path, settings: Callable[[], WorkspaceSettings]) -> Iterable[Tool]:
    """All of them, over the folder ``root``."""
    return [FileTool(spec, do, root, settings) for spec, do in _TOOLS]


def _list(workspace: Workspace, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    items = workspace.entries(arguments.get("path", ""))
    lines = [f"{item.path}/" if item.size < 0 else f"{item.path} ({item.size} bytes)" for item in items[:500]]
    more = [f"(and {len(items) - 500} more)"] if len(items) > 500 else []
    return ToolResult("\n".join([*lines, *more]) or "(empty)", summary=f"{len(items)} entries")


def _read(workspace: Workspace, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    data, size, clean = workspace.read(arguments["path"], MAX_SEARCHED)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ToolResult(f"It is no text: {size} bytes.", summary=f"{size} bytes, no text")
    start = int(arguments.get("start", 0))
    part = text[start : start + MAX_SHOWN]
    rest = len(text) - start - len(part)
    more = f"\n({rest} more characters: ask again with start={start + len(part)})" if rest > 0 else ""
    return ToolResult((part or "(empty)") + more, taint=not clean, origin=arguments["path"], summary=f"{size} bytes")


def _write(workspace: Workspace, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    append = bool(arguments.get("append", False))
    replace = bool(arguments.get("replace", False))
    size = workspace.write(
        arguments["path"], arguments["text"].encode(), append=append, replace=replace, clean=not context.tainted
    )
    return ToolResult(f"Written: it has {size} bytes now.", summary=f"{size} bytes")


def _delete(workspace: Workspace, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    workspace.delete(arguments["path"])
    return ToolResult("Deleted.", summary="deleted")


def _search(workspace: Workspace, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    wanted, hits, read, tainted = arguments["text"].casefold(), [], 0, False
    for item in workspace.walk():
        if wanted in item.path.casefold():
            hits.append(item.path + ("/" if item.size < 0 else ""))
        if item.size < 0 or context.stop.is_set():
            continue
        if read > MAX_SEARCHED or len(hits) >= MAX_HITS:
            hits.append("(and perhaps more: search for something rarer)")
            break
        data, _, clean = workspace.read(item.path, MAX_SEARCHED)
        read += len(data)
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            if wanted in line.casefold() and len(hits) < MAX_HITS:
                hits.append(f"{item.path}:{number}: {line.strip()[:200]}")
                tainted = tainted or not clean
    return ToolResult("\n".join(hits) or "Nothing was found.", taint=tainted, summary=f"{len(hits)} places")


def _spec(
    name: str,
    description: str,
    properties: dict[str, Any],
    required: Iterable[str] = (),
    effect: Effect = Effect.READ,
    sensitive: Iterable[str] = (),
    *,
    irreversible: bool = False,
    irreversible_if: Iterable[str] = (),
) -> ToolSpec:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(
        name, description, parameters, frozenset({effect}), taints=False, sensitive=frozenset(sensitive), source="file",
        irreversible=irreversible, irreversible_if=frozenset(irreversible_if), timeout=20.0,
    )  # fmt: skip


_START = {"type": "integer", "minimum": 0, "description": "character to begin at"}
_TOOLS: tuple[tuple[ToolSpec, Do], ...] = (
    (_spec("file_list", "List a folder of the person's workspace.", {"path": {**_PATH, "minLength": 0}}), _list),
    (
        _spec("file_read", "Read a text file of the person's workspace.", {"path": _PATH, "start": _START}, ["path"]),
        _read,
    ),
    (
        _spec(
            "file_search",
            "Find names and lines in the person's workspace that hold a text (case does not count).",
            {"text": {"type": "string", "minLength": 2, "maxLength": 200}},
            ["text"],
        ),
        _search,
    ),
    (
        _spec(
            "file_write",
            "Write a new text file in the person's workspace, add to the end of one, or replace one.",
            {
                "path": _PATH,
                "text": {"type": "string", "maxLength": 200_000},
                "append": {"type": "boolean", "description": "add to the end of the file"},
                "replace": {"type": "boolean", "description": "a file of that name may be lost"},
            },
            ["path", "text"],
            Effect.WRITE,
            ["path"],
            irreversible_if=["replace"],
        ),
        _write,
    ),
    (
        _spec(
            "file_delete",
            "Delete a file, or an empty folder, of the person's workspace.",
            {"path": _PATH},
            ["path"],
            Effect.WRITE,
            ["path"],
            irreversible=True,
        ),
        _delete,
    ),
)
