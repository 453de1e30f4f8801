"""The contract with the workstation: a folder with networks, a manifest and a signature."""
