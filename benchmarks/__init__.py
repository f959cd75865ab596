"""The benchmarks: an asv suite (`bench_*.py`) and a comparison with other ways to run the same code (`peers.py`).

asv measures larger as worse, so everything here is a time, a size or a count, and never a speed. Durations are noisy
and are to be compared only within one run; what is called bytes, operations or instructions is the same in every run
of a commit, and is what to gate on. What is measured loops in guest code or in native code, unless a docstring says
that it is Python. Imports of vmjit stand in functions: asv runs these files against older commits as well.
"""
