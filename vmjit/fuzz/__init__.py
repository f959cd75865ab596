"""Differential fuzzing: random RISC-V programs end alike in every tier, and as an oracle says.

vocabulary, roles, placement -> programs -> tiers, qemu (what runs them) -> judge (what differs) -> jobs (child
processes) -> campaign -> shrink -> report. Everything about a program is in its text form (text.py), which golden files
hold.
"""
