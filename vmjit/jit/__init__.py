"""LLVM text to position-independent code in an arena; the only package that imports llvmlite."""
