"""Building blocks of an encoder layer; none depends on attention reuse."""
