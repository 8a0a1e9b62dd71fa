"""The proof: real processes, real databases, real faults, and books that are compared with a witness outside them."""
