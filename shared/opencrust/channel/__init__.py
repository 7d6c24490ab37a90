"""Channels: how the house is reached from other people's platforms, without losing or doubling a message.

A channel is a service of its own. It consists of an **adapter**, which knows one platform and nothing else
(:mod:`opencrust.channel.adapter` is all that it implements), and the **engine**, which is the same for all of them and
knows no platform. A new channel is an adapter and three lines that hand it to :func:`opencrust.channel.service.serve`.

**In.** The adapter turns a platform's event into an :class:`~opencrust.channel.adapter.InEvent` and awaits
``emit(event)``. Then, and only then, it tells the platform that it has it: the offset of a poll, the ack of a socket,
the 200 of a webhook. ``emit`` (:mod:`.inbox`) asks who may speak (:mod:`.gate`), takes ``/stop`` and ``/pair`` out of
the way, stores files under their hash (:mod:`.media`) and publishes with the event's id as ``Nats-Msg-Id``; it returns
after the stream's acknowledgement. If that does not come it raises, the adapter acknowledges nothing, and the platform
brings the event again. What it brings again is met by :mod:`.seen`, by the stream within ten minutes, and by the agent
where a kill fell between the publish and its note. What cannot be read is a dead letter (:mod:`.letters`). So:

* died before the publish → the platform brings it again;
* died after it, before the platform's ack → the platform brings it again, the stream knows the id;
* the bus is away → nothing is acknowledged; the platform keeps it, or a backfill fetches it.

Where a platform allows one consumer, replicas agree on who it is by a lease (:mod:`.leader`); the others send, and
take over within seconds. A link that is connected but deaf is noticed by :mod:`.link` and begun anew.

**Out.** A reply lies in a lane of the stream MSG_OUT until it is settled. Every replica takes from all lanes; of a lane
one reply is in flight at a time, so a conversation's replies keep their order, and a rate limit holds up one lane. A
reply goes out in parts (:mod:`.parts`). For each the ledger (:mod:`.ledger`) says ``attempting`` before the platform is
called, and what came of it after. Who finds ``attempting`` from somebody who died asks the platform
(:meth:`~opencrust.channel.adapter.ChannelAdapter.reconcile`); where the platform cannot say, the part goes out again
and is counted as ``unknown``: the one place where a person may see something twice. :mod:`.outbox` is that loop;
:mod:`.limits` remembers how fast a platform may be called; what can never be sent becomes a dead letter.

While a turn runs, :mod:`.live` shows it (typing, a draft or an edited message). That is lossy; the reply is not.

**One owner of duplicates for each hop**: platform → bus is :mod:`.seen` (with the stream's
``Nats-Msg-Id`` for what two replicas publish at once, and the agent's look into the stream for what is marked
``again``); bus → agent is the session's cursor; agent → bus is the reply's id; bus → platform is the ledger. An adapter
drops nothing because it thinks that it has seen it.
"""
