"""Region of the IR to LLVM text, and the native code around guest code."""
