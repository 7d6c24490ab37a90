"""The dead-letter mover: what could not be delivered or answered is kept, shown and, when asked, sent again.

Two ways lead to the stream DLQ. A message of the work queue MSG_OUT that was delivered too often, or given up by its
channel, stays in the queue for ever by itself: the server only says so in an advisory. This service hears it, copies
the message into DLQ and removes the original. A message of MSG_IN is buried by the agent itself.

``opencrust dlq list | show | redrive`` asks this service over ``ctl.dlq.<op>``.
"""
