"""Run a RISC-V program from Python: `python examples/run_elf.py [PROGRAM [ARGUMENT ...]]`.

The program's output goes where this script's does; what is known about the run comes on standard error.
"""

import sys
from pathlib import Path

from vmjit.machine import Machine

PRIMES = str(Path(__file__).parent / "guests" / "primes")

program, *arguments = sys.argv[1:] or [PRIMES, "1000000"]
machine = Machine(program, arguments)
result = machine.run()
print(f"exit code {result.code}, {machine.hart.instructions:,} guest instructions", file=sys.stderr)
if result.message is not None:
    print(result.message, file=sys.stderr)
machine.close()
sys.exit(result.code)
