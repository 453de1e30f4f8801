"""How a network learns: what there is to learn, the loop, its state, several processes, what it leaves behind."""
