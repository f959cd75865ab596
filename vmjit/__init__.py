"""vmjit: an LLVM-backed JIT emulator that runs RISC-V Linux programs from Python."""

__version__ = "0.1.0"
