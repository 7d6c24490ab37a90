"""OpenCrust's Discord adapter: its events become messages on the bus, replies on the bus become its messages."""
