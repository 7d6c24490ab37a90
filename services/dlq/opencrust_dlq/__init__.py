"""The dead-letter mover: what could not be delivered or answered is kept, shown and, when asked, sent again.

A consumer that gives a message up buries it itself (:meth:`opencrust.bus.Delivery.discard`, and the agent for what it
cannot read). But a consumer that *dies* on a message says nothing: after its last delivery it stays in the work
queue MSG_OUT for ever, and only an advisory of the server tells. This service hears it, copies the message into the
stream DLQ and removes the original.

``opencrust dlq list | show | redrive`` asks this service over ``ctl.dlq.<op>``.
"""
