"""Differential fuzzing: random RISC-V programs end alike in every tier, and as an oracle says.

program -> programs (random ones) -> tiers, qemu (what runs them) -> verdict (differences) -> jobs (child processes)
-> shrink -> report. Everything about a program is in its text form (text.py), which golden files hold.
"""
