"""The commands of `tapetum-build`, a file each: arguments in, a few printed lines out. The work is done elsewhere.

A command imports what it needs when it runs: a unit that builds engines has no PyTorch.
"""
