"""Attribute names, as our own constants, and the allow-list that the last gate enforces.

The messaging conventions are in development and the GenAI conventions moved out of the main repository, so the names
are pinned here instead of being imported from a package that renames them. Sources: OpenTelemetry semantic
conventions "messaging spans" and "Gen AI spans", read in 2026.

An attribute that is not in :data:`ALLOWED` never leaves the process: adding one here is the only way to export it,
and that is the moment to ask whether it can hold what a person wrote.
"""

from __future__ import annotations

from typing import Final

ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_DESTINATION_TEMPLATE: Final = "messaging.destination.template"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_MESSAGE_BODY_SIZE: Final = "messaging.message.body.size"
MESSAGING_CONVERSATION_ID: Final = "messaging.message.conversation_id"
MESSAGING_CONSUMER_GROUP: Final = "messaging.consumer.group.name"
NATS_STREAM: Final = "nats.stream"
NATS_STREAM_SEQUENCE: Final = "nats.stream.sequence"
NATS_NUM_DELIVERED: Final = "nats.num_delivered"

GENAI_OPERATION_NAME: Final = "gen_ai.operation.name"
GENAI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GENAI_REQUEST_MODEL: Final = "gen_ai.request.model"
GENAI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GENAI_RESPONSE_ID: Final = "gen_ai.response.id"
GENAI_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GENAI_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GENAI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GENAI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GENAI_CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GENAI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GENAI_AGENT_NAME: Final = "gen_ai.agent.name"
GENAI_TOOL_NAME: Final = "gen_ai.tool.name"
GENAI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GENAI_TOOL_TYPE: Final = "gen_ai.tool.type"
MCP_METHOD_NAME: Final = "mcp.method.name"

OPENCRUST_ATTEMPT: Final = "opencrust.attempt"
OPENCRUST_OUTCOME: Final = "opencrust.outcome"
OPENCRUST_ASSESS_VERDICT: Final = "opencrust.assess.verdict"
OPENCRUST_ASSESS_BUCKET: Final = "opencrust.assess.bucket"

ALLOWED: Final = frozenset(
    {
        ERROR_TYPE,
        SERVER_ADDRESS,
        SERVER_PORT,
        HTTP_REQUEST_METHOD,
        HTTP_RESPONSE_STATUS_CODE,
        HTTP_ROUTE,
        MESSAGING_SYSTEM,
        MESSAGING_OPERATION_NAME,
        MESSAGING_OPERATION_TYPE,
        MESSAGING_DESTINATION_NAME,
        MESSAGING_DESTINATION_TEMPLATE,
        MESSAGING_MESSAGE_ID,
        MESSAGING_MESSAGE_BODY_SIZE,
        MESSAGING_CONVERSATION_ID,
        MESSAGING_CONSUMER_GROUP,
        NATS_STREAM,
        NATS_STREAM_SEQUENCE,
        NATS_NUM_DELIVERED,
        GENAI_OPERATION_NAME,
        GENAI_PROVIDER_NAME,
        GENAI_REQUEST_MODEL,
        GENAI_RESPONSE_MODEL,
        GENAI_RESPONSE_ID,
        GENAI_FINISH_REASONS,
        GENAI_TIME_TO_FIRST_CHUNK,
        GENAI_INPUT_TOKENS,
        GENAI_OUTPUT_TOKENS,
        GENAI_CACHE_READ_TOKENS,
        GENAI_CONVERSATION_ID,
        GENAI_AGENT_NAME,
        GENAI_TOOL_NAME,
        GENAI_TOOL_CALL_ID,
        GENAI_TOOL_TYPE,
        MCP_METHOD_NAME,
        OPENCRUST_ATTEMPT,
        OPENCRUST_OUTCOME,
        OPENCRUST_ASSESS_VERDICT,
        OPENCRUST_ASSESS_BUCKET,
    }
)
