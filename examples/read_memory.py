"""Guest memory is a numpy array, not a copy: the sieve that `primes` leaves behind, looked at after the run."""

from pathlib import Path

import numpy

from vmjit.machine import Machine

LIMIT = 1000
machine = Machine(str(Path(__file__).parent / "guests" / "primes"), [str(LIMIT)])
machine.run()

address = machine.symbols.address("composite")
assert address is not None
composite = machine.memory.view(address, LIMIT, numpy.uint8)
primes = numpy.flatnonzero(composite == 0)[2:]  # the program leaves 0 and 1 out, too
print(f"{len(primes)} primes at {address:#x}, the last ones {primes[-3:]}")

composite[:] = 7  # and the guest would see that
assert machine.memory.read(address, 2) == b"\7\7"
