"""One module a question beside the ladder: twins, lattice, networks, generality, cards, the library."""
