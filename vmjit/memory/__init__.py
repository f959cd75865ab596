"""Guest memory: host memory reserved, and the address space mapped in it."""
