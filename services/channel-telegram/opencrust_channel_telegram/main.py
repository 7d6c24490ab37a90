"""Starting the Telegram channel."""

from opencrust import service
from opencrust.channel.service import serve
from opencrust.service import Context
from opencrust_channel_telegram.adapter import TelegramAdapter


async def run(context: Context) -> None:
    """Serve Telegram until told to stop. Any number of replicas may run."""
    await serve(context, TelegramAdapter)


def main() -> int:
    """Console script; its exit codes are :mod:`opencrust.service`'s."""
    return service.main("channel-telegram", run)
