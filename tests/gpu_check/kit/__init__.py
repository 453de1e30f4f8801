"""Everything that `make gpu-check` needs on a machine without a network, in one folder, in parts that can be carried.

::

    contents.py   which packages, in which groups
    make.py       downloads them, where there is a package index
    parts.py      files cut to parts of a size, and put together again
    install.py    a virtual environment of them, where there is none
"""
