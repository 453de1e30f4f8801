"""`make gpu-check`: everything that only a GPU can tell, measured in one command, into one JSON file.

::

    __main__.py   the command: runs the plan, writes the document
    plan.py       which steps there are, in which order, and how long each may take
    running.py    a step in a process of its own, killed at its limit
    figures.py    what a step finds, kept from the moment it is known
    report.py     the document, and the table of it
    timing.py     how times are taken and what is told of them
    gpu.py        the GPU through the project's own `edge.inference.cuda`
    parts/        the steps: what each measures
    kit/          wheels and data for a machine without a network: `make gpu-kit`

The command and its process control need nothing but Python's own library, so that they start on a bare machine.
"""
