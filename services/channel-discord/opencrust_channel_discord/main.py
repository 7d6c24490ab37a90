"""Starting the Discord channel."""

from opencrust import service
from opencrust.channel.service import serve
from opencrust.service import Context
from opencrust_channel_discord.adapter import DiscordAdapter


async def run(context: Context) -> None:
    """Serve Discord until told to stop. Any number of replicas may run; two listen."""
    await serve(context, DiscordAdapter)


def main() -> int:
    """Console script; its exit codes are :mod:`opencrust.service`'s."""
    return service.main("channel-discord", run)
