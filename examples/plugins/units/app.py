"""Converts lengths, weights and temperatures. A plugin in Python: reads nothing, connects nowhere."""

import json

import wit_world
from componentize_py_types import Err

METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "in": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344}
GRAMS = {"g": 1.0, "kg": 1000.0, "oz": 28.349523125, "lb": 453.59237, "st": 6350.29318}

TOOLS = [
    {
        "name": "convert",
        "description": "Convert a length (mm cm m km in ft yd mi), a weight (g kg oz lb st) or a temperature (C F K).",
        "parameters": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "from": {"type": "string", "maxLength": 2},
                "to": {"type": "string", "maxLength": 2},
            },
            "required": ["value", "from", "to"],
        },
    }
]


class WitWorld(wit_world.WitWorld):
    def describe(self) -> str:
        return json.dumps({"tools": TOOLS})

    def call(self, input_json: str) -> str:
        # An exception that is no Err ends the call with nothing said: say what went wrong.
        try:
            arguments = json.loads(input_json)["arguments"]
            return convert(float(arguments["value"]), arguments["from"], arguments["to"])
        except (KeyError, TypeError, ValueError) as error:
            raise Err(f"cannot convert that: {error}") from None


def convert(value: float, source: str, target: str) -> str:
    for table in (METRES, GRAMS):
        if source in table and target in table:
            return f"{value * table[source] / table[target]:.6g} {target}"
    kelvin = {"C": value + 273.15, "F": (value - 32) / 1.8 + 273.15, "K": value}[source]
    return f"{ {'C': kelvin - 273.15, 'F': (kelvin - 273.15) * 1.8 + 32, 'K': kelvin}[target]:.6g} {target}"
