"""How a command fails: a sentence for the person, a number for the script."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3


class CommandError(Exception):
    """A command cannot do its work. The text says what was wrong and what to do."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


class NotRunning(CommandError):
    """The command needs a running OpenCrust."""

    def __init__(self, message: str = "OpenCrust is not running: start it with `opencrust up`") -> None:
        super().__init__(message, EXIT_NOT_RUNNING)
