"""OpenCrust's agent service: takes a conversation's messages from the bus, thinks with a model, acts with tools
under policy, and puts one reply on the bus. Models live in `opencrust_agent.models`, the offline model's process in
`opencrust_agent.demo`.
"""
