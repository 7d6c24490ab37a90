"""The ``opencrust`` command.

* `main`         the parser; one module per family of commands below it
* `home`         where things lie in OPENCRUST_HOME
* `running`      whether a supervisor runs there, and what it says
* `bus`          a short connection to the bus as identity ``cli``
* `up`           ``up`` and ``down``; `supervisor` and its ``supervisor_*`` neighbours are what ``up`` starts

Exit codes: 0 done · 1 failed · 2 usage · 3 OpenCrust is not running.
"""
