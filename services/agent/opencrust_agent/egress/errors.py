"""What goes wrong on the way out. The texts are ours and name the rule; they quote nothing that a stranger wrote."""


class EgressError(Exception):
    """The request brought no answer. The text says why, for the model and the person."""


class Refused(EgressError):
    """The request is against the rules; nothing was sent."""
