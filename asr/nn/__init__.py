"""Building blocks of an encoder layer; none of them knows about attention reuse."""
