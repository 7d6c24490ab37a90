"""``opencrust plugins new``: a plugin to begin with, that builds and runs as it is."""

import re
from pathlib import Path

from opencrust.contracts.plugins import RESERVED
from opencrust_cli.errors import EXIT_USAGE, CommandError

LANGUAGES = ("python", "javascript")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

WIT = """\
package agent:plugin@0.1.0;

interface host {
  enum level { debug, info, warn, error }
  log: func(level: level, message: string);
  now-ms: func() -> u64;
  kv-get: func(key: string) -> option<string>;
  kv-set: func(key: string, value: string) -> result<string, string>;
  http-fetch: func(request-json: string) -> result<string, string>;
}

world tool {
  import host;
  export describe: func() -> string;
  export call: func(input-json: string) -> result<string, string>;
}
"""
"""services/agent/opencrust_agent/plugins/tool.wit without its comments: a test holds the two together."""

_MANIFEST = """\
schema = 1
name = "{name}"
version = "0.1.0"
summary = "Says hello."
world = "agent:plugin/tool@0.1.0"
wasm = "plugin.wasm"

# What it may do. As it stands it can compute, and nothing else. See docs/plugins.md.
# [[http]]
# host = "api.example.com"
# methods = ["GET"]
# path_prefix = "/v1/"
"""

_PYTHON = '''\
"""{name}: what it does."""

import json

import wit_world
from componentize_py_types import Err

TOOLS = [
    {{
        "name": "hello",
        "description": "Say hello to somebody.",
        "parameters": {{
            "type": "object",
            "properties": {{"who": {{"type": "string", "maxLength": 100}}}},
            "required": ["who"],
        }},
    }}
]


class WitWorld(wit_world.WitWorld):
    def describe(self) -> str:
        return json.dumps({{"tools": TOOLS}})

    def call(self, input_json: str) -> str:
        # An exception that is no Err ends the call with nothing said: say what went wrong.
        try:
            return f"Hello, {{json.loads(input_json)['arguments']['who']}}!"
        except (KeyError, TypeError, ValueError) as error:
            raise Err(f"cannot say hello: {{error}}") from None
'''

_JAVASCRIPT = """\
// {name}: what it does.

const TOOLS = [
  {{
    name: "hello",
    description: "Say hello to somebody.",
    parameters: {{
      type: "object",
      properties: {{ who: {{ type: "string", maxLength: 100 }} }},
      required: ["who"],
    }},
  }},
];

export function describe() {{
  return JSON.stringify({{ tools: TOOLS }});
}}

export function call(input) {{
  const {{ arguments: given }} = JSON.parse(input);
  if (!given.who) throw "say hello to whom?"; // becomes the answer, marked as failed
  return `Hello, ${{given.who}}!`;
}}
"""

_BUILDS = {
    "python": (
        "pip install componentize-py==0.25.1",
        "componentize-py --wit-path tool.wit --world tool componentize --stub-wasi app -o plugin.wasm",
    ),
    "javascript": (
        "npm install componentize-qjs@0.4.5",
        "npx componentize-qjs --wit tool.wit --world tool --js plugin.js --output plugin.wasm "
        "--sync --stub-wasi --minify",
    ),
}

_README = """\
# {name}

A plugin for OpenCrust.

    {tool}
    {build}

    opencrust plugins install .
    opencrust plugins call {name} '{{"who": "world"}}'
    opencrust plugins log {name}

Sign it before you give it away:

    opencrust plugins sign . --key author.pem

`--stub-wasi` (and `--sync`) matter: a component that imports WASI, or uses the asynchronous interface, is refused. So
is one made with `--opt-size`, whose runtime needs tail calls.
"""


def create(where: Path, name: str, language: str) -> Path:
    """Write the folder `name`; returns it.

    Raises:
        CommandError: the name is none, or the folder exists.
    """
    if not _NAME.fullmatch(name) or len(name) > 32:
        raise CommandError(f"{name!r}: small letters, digits and single dashes, at most 32", EXIT_USAGE)
    if (first := name.partition("-")[0]) in RESERVED:
        raise CommandError(f"{name!r}: names that begin with {first!r} are kept for OpenCrust's own tools", EXIT_USAGE)
    folder = where / name
    tool, build = _BUILDS[language]
    source, template = ("app.py", _PYTHON) if language == "python" else ("plugin.js", _JAVASCRIPT)
    try:
        folder.mkdir()
    except OSError as error:
        raise CommandError(f"{folder} cannot be made: {error.strerror}") from None
    (folder / "tool.wit").write_text(WIT)
    (folder / "plugin.toml").write_text(_MANIFEST.format(name=name))
    (folder / source).write_text(template.format(name=name))
    (folder / "README.md").write_text(_README.format(name=name, tool=tool, build=build))
    return folder.relative_to(where)
