"""Plugins: tools that somebody else wrote, run so that they can do what was agreed to and nothing else.

A plugin is a WebAssembly component of the world ``agent:plugin/tool@0.1.0`` (``tool.wit``) and a ``plugin.toml``. Its
way, and the room that owns each step::

    manifest      what it is and wants          signature   who made it
    components    its bytes, compiled           compiler    … in a throw-away process
    cache         machine code under our seal
    description   what it says of itself        consent     the question to the person
    installer     all of that, before anything is agreed to
    records       the lock: what was agreed to  desk        install, list, disable … over the bus

and of a call::

    tools         as the agent's policy sees it
    plugins       finds the version agreed to   fleet       which processes there are
    running       one process: deadline, watchdog, rate
    processes     the zygote that forks it      zygote, worker, seccomp, engine   what happens in there
    host          what it asks for: counted     broker, storage                   … and done, within the grant

Three walls stand behind each other: WebAssembly without WASI (it can call five functions), a process without files,
network or secrets (Landlock, seccomp, rlimits), and the agent, which checks every request against the grant and adds
credentials itself. Only ``engine`` imports wasmtime, and only those processes load it.
"""
