"""OpenCrust on Discord.

**Listening** (:mod:`.gateway`): discord.py keeps the connection (shards, heartbeats, resume); of what it receives only
the raw frames are used. Its own parsers of events are switched off but for the few that the session needs, so a
malformed event cannot end the client, and no cache grows. A frame becomes an event in :mod:`.events`, which is pure.
discord.py's client is supervised by the engine: whatever it raises, it is begun anew.

**Gaps** (:mod:`.catchup`): Discord replays a session that is resumed, and nothing else. After every READY (first start,
restart, a session that could not be resumed) each channel is read by REST from its own cursor before anything live in
it is handed on. Cursors are kept on the bus. Two replicas listen at once (twins), so one may die without a gap at all;
the stream keeps one of each.

**Sending** (:mod:`.sending`): by REST through discord.py's HTTP client, which waits for rate-limit buckets, with the
part's key as nonce and ``enforce_nonce``: Discord shows it once however often it is sent. No mention is ever allowed.

**Slash commands and buttons** are interactions: handed on first, acknowledged after (within three seconds), each with a
short answer that only who used it sees. Threads are conversations of their own.
"""
