"""Talking to language models: one protocol, two wire formats, no vendor SDK.

The way of one call: the agent builds a neutral `Request`; `Chain.stream()` picks a model whose circuit breaker lets
it through; `HttpModel` asks its wire format (`openai_chat`, `anthropic_messages`) for the JSON body, fetches the key
at that moment, sends it over `Transport` and feeds the bytes that come back to the format's incremental parser.
Nothing below `transport` does I/O, and nothing above it knows a provider.

The public interface, all importable from here:

    messages   Message(role, parts, origin="")  Text(text)  ToolCall(id, name, arguments, malformed="", extra={})
               ToolResult(call_id, content, is_error=False)  Reasoning(data)  ToolSpec(name, description, parameters)
               user(text), assistant(text); message_to_json(m) / message_from_json(d) for storage
               Request(system, messages, tools=(), max_tokens=1024, temperature=None)
    events     Attempt(number, provider, model, after)   a request is about to be sent; `after` is what ended the last
               TextDelta(text)                           more of the answer
               Reset(error)                              forget every TextDelta since the last Attempt
               Completion(message, finish, usage, provider, model, response_id)     always the last event
               Usage(input_tokens, output_tokens, cached_tokens)
    errors     ModelError(kind, message, provider=, model=, status=, retry_after=, partial=, usage=); .kind: ErrorKind
               AllModelsFailed(errors)  a ModelError whose kind is the last one's; .errors has them all
    model      Model (protocol): provider, model, supports_tools; stream(request) -> AsyncGenerator[Event, None]
               Credential (protocol): reveal_text() -> str, as `opencrust.credentials.secret.Secret` has it
               CredentialSource = Callable[[], Awaitable[Credential]], called for every request
    presets    PRESETS[kind] -> Preset;  endpoint(name, kind=, model=, base_url=None, credential=None, timeouts=None,
               max_output_tokens=None) -> Endpoint, raising ValueError with a sentence for the person who configured it
    transport  Transport(): one connection pool, `async with`, shared by all models; Timeouts(connect, first_byte, idle,
               total), seconds
    http_model HttpModel(endpoint, transport): a Model (the kind "demo" is a Model of its own: opencrust_agent.demo)
    chain      Chain(models, policy=RetryPolicy(), ...): a Model; .snapshot() -> list[dict] for status output

    async with Transport() as transport:
        chain = Chain([HttpModel(endpoint("main", kind="anthropic", model="…", credential=lease_key), transport)])
        async with contextlib.aclosing(chain.stream(Request(system, (user("hello"),)))) as events:
            async for event in events:
                match event:
                    case TextDelta(text): ...
                    case Reset(): ...            # what was shown so far is void
                    case Completion(message=message, finish=finish): ...

`stream` either ends with a `Completion` or raises one `ModelError`. Closing the generator, or cancelling the task,
cuts the connection at once (STOP). A `Completion` exists only when the provider said that it had finished:
`finish` is "stop", "length" or "tool_calls", and tool calls are in `completion.message` only under "tool_calls" —
never from a stream that was cut, nor from an answer that ran out of tokens. Arguments that are not a JSON object
come as `arguments={}` with `malformed` holding a reason to tell the model: do not run such a call.
"""

from opencrust_agent.models.breaker import BreakerPolicy
from opencrust_agent.models.chain import Chain, RetryPolicy
from opencrust_agent.models.errors import AllModelsFailed, ErrorKind, ModelError
from opencrust_agent.models.events import Attempt, Completion, Event, Finish, Reset, TextDelta, Usage
from opencrust_agent.models.http_model import HttpModel
from opencrust_agent.models.messages import (
    Image,
    Message,
    Part,
    Reasoning,
    Request,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    assistant,
    message_from_json,
    message_to_json,
    user,
)
from opencrust_agent.models.model import Credential, CredentialSource, Model
from opencrust_agent.models.presets import PRESETS, Endpoint, Preset, endpoint
from opencrust_agent.models.transport import Timeouts, Transport

__all__ = [
    "PRESETS",
    "AllModelsFailed",
    "Attempt",
    "BreakerPolicy",
    "Chain",
    "Completion",
    "Credential",
    "CredentialSource",
    "Endpoint",
    "ErrorKind",
    "Event",
    "Finish",
    "HttpModel",
    "Image",
    "Message",
    "Model",
    "ModelError",
    "Part",
    "Preset",
    "Reasoning",
    "Request",
    "Reset",
    "RetryPolicy",
    "Text",
    "TextDelta",
    "Timeouts",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "Transport",
    "Usage",
    "assistant",
    "endpoint",
    "message_from_json",
    "message_to_json",
    "user",
]
