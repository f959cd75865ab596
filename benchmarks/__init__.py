"""The benchmarks: an asv suite (`bench_*.py`) and a comparison with other ways to run the same code (`peers.py`).

What both run is in `guests.py` and `kernels/`, what only asv runs in `programs/`. A new kernel is a C file in the
former, a line in `guests.KERNELS`, and `python tests/programs/build.py --expected`; the comparison, its groups and
targets (`comparison.py`) and the tests take it from there. `page.py` makes the page of a comparison, `surroundings.py`
says on what it was made.

`publish.py` makes asv's pages and needs no network for them, `targets.py` the table in docs/performance.md from asv's
results; `gate.py` compares what `counters.py` counts with the commit before.

asv measures larger as worse, so everything in its suite is a time, a size or a count, and never a speed. Durations are
noisy and are to be compared only within one run; what is called bytes, operations or instructions is the same in every
run of a commit, and is what to gate on. What is measured loops in guest code or in native code, unless a docstring says
that it is Python. Imports of vmjit stand in functions: asv runs these files against older commits as well.
"""
