"""OpenCrust on Slack.

**Listening.** Socket Mode (:mod:`.socket`, the default: no public address) holds several connections in every replica;
Slack gives each event to one of them, and to another one if it is not acknowledged. slack-sdk's client keeps a
connection and pings it every second; ours supervises it: one that is silent is left within two seconds. HTTP mode
(:mod:`.webhook`) takes signed calls instead. Either way an envelope becomes an event in :mod:`.events`, which is pure,
is handed on, and acknowledged after.

A message that names us comes as two events with two ids: both become one, under channel and time stamp.

**Threads are conversations.** What names us in a channel begins one below itself; private messages go on without,
unless they are in a thread already.

**Sending** (:mod:`.sending`): Slack knows no idempotency key, and slack-sdk's retry after a broken connection posts
twice, so no retry is left on. Each message carries its part's key as metadata; when nobody knows whether Slack has it,
the conversation's latest messages are asked (:mod:`.adapter`).
"""
