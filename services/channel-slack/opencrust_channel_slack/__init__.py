"""OpenCrust on Slack.

**Listening.** Socket Mode (:mod:`.socket`, the default: no public address) holds several connections in every replica
(:mod:`.connection`); Slack gives each event to one of them, and to another one if it is not acknowledged. HTTP mode
(:mod:`.webhook`) takes signed calls instead. Either way an envelope goes through the :mod:`.intake`: it waits for its
turn in its conversation (:mod:`.order`), what was missed before it is read first (:mod:`.catchup`), it becomes an event
in :mod:`.events`, which is pure, is handed on, and is acknowledged after that.

A message that names us comes as two events with two ids: both become one, under channel and time stamp.

**Threads are conversations.** What names us in a channel begins one below itself; private messages go on without,
unless they are in a thread already.

**Sending** (:mod:`.sending`): Slack knows no idempotency key, and slack-sdk's retry after a broken connection posts
twice, so no retry is left on. Each message carries its part's key as metadata; when nobody knows whether Slack has it,
the conversation's latest messages are asked (:mod:`.adapter`).
"""
