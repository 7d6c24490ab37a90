"""A real agent that kills itself with SIGKILL at the step ``KILL_AT`` of a turn: no ``finally``, no farewell.

Steps: before a request to the model and at its first piece; before and after every write of a session or an outgoing
message; before and after a tool with an effect does its work. ``KILL_AT=0``: never.
"""

import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

from opencrust import service
from opencrust.bus import Bus
from opencrust_agent.main import run
from opencrust_agent.models import HttpModel
from opencrust_agent.tools.files import FileTool
from opencrust_agent.tools.send_message import SendMessage

AT = int(os.environ["KILL_AT"])
COUNTED = ("$KV.sess.web.", "msg.out.web.")


class Steps:
    count = 0

    def step(self) -> None:
        self.count += 1
        if self.count == AT:
            os.kill(os.getpid(), signal.SIGKILL)


def around(steps: Steps, owner: Any, name: str, counts: Any = lambda *_: True) -> None:
    """A step before and after each call of a method."""
    real = getattr(owner, name)

    async def wrapped(self: Any, first: Any, *rest: Any, **more: Any) -> Any:
        counted = counts(self, first)
        if counted:
            steps.step()
        done = await real(self, first, *rest, **more)
        if counted:
            steps.step()
        return done

    setattr(owner, name, wrapped)


def prepare() -> None:
    steps = Steps()
    around(steps, Bus, "publish_stored", lambda _, subject: subject.startswith(COUNTED))
    around(steps, FileTool, "call", lambda tool, _: tool.spec.name == "file_write")
    around(steps, SendMessage, "call")
    stream = HttpModel.stream

    async def streamed(self: HttpModel, request: Any) -> AsyncGenerator[Any, None]:
        steps.step()
        first = True
        async for event in stream(self, request):
            yield event
            if first:
                steps.step()
            first = False

    HttpModel.stream = streamed  # type: ignore[method-assign]


if __name__ == "__main__":
    if AT:
        prepare()
    raise SystemExit(service.main("agent", run))
