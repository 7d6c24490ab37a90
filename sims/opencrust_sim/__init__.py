"""Simulated platforms: Telegram, Discord and Slack as servers of this machine, with what these do on a bad day.

Each is a module whose ``main(arguments)`` runs it until it is interrupted (``opencrust-sim telegram``), and a class for
tests. A page on its address lets a person play those who write to the bot; its control API below ``/_sim/`` lets a
script do that, set faults, and read what the bot sent. They listen on 127.0.0.1 alone, and know no account and no
secret.
"""
