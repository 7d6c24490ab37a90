"""The gateway: browsers, the command line and API clients speak here; to the rest of the house it is channel
"web".

A request's way, and the module of each step::

    limits          counted by socket address, before anything of the request is believed
    guard           Host, Origin and Sec-Fetch-Site; security headers on every answer
    authentication  one function for every credential: a token's text → its record → a principal
    permissions     one table: which scope a route or a WebSocket operation wants
    login           login link → cookie → logout
    completions     POST /v1/chat/completions, GET /v1/models      (shapes: openai)
    websocket       /v1/ws                                          (shapes: frames)
    events          /v1/conversations/{name}/events                 (server-sent events)
    hub             conversations over the bus: send, watch, stop; every reply reaches its waiters once

The gateway holds no state that matters: what was accepted lies in MSG_IN before the caller is told so, the
answer lies in the log and in the session, and any replica can serve any client.
"""
