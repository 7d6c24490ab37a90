"""What a person set: ``OPENCRUST_HOME/config/config.json``, strict, without secrets.

The file is the truth. The provisioner checks it and publishes to each service the part that concerns it, as keys of the
bucket ``cfg``; services hear of a change at once and reload. A file with a fault publishes nothing.
"""

from opencrust.config.channels import PLATFORMS, ChannelMode, ChannelSettings, Webhook
from opencrust.config.configuration import AgentSettings, ConfigError, Configuration, Provider, ProviderKind, Providers
from opencrust.config.policy import Answer, PolicySettings, Rule

__all__ = [
    "PLATFORMS",
    "AgentSettings",
    "Answer",
    "ChannelMode",
    "ChannelSettings",
    "ConfigError",
    "Configuration",
    "PolicySettings",
    "Provider",
    "ProviderKind",
    "Providers",
    "Rule",
    "Webhook",
]
