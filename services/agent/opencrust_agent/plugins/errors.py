"""How installing or calling a plugin can fail."""


class PluginError(Exception):
    """Base of all of them. The text is for the person; what a plugin chose stands in it escaped."""


class PluginRefused(PluginError):
    """It is not installed: what is wrong with it."""


class PluginFault(PluginError):
    """A call ended otherwise than by an answer.

    Args:
        name: what happened, one of a few words that tests and logs use: timeout, fuel, trap, host-calls, rate-limited …
        detail: for the person; nothing of the plugin's own words.
    """

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name
        self.detail = detail
