"""All instructions of the guest: importing the files fills the set, and the decoder is made of it.

Instructions whose two lowest bits are not 11 have 16 bits. Longer ones than 32 bits begin with 11111; no row matches
them, so they are illegal (unprivileged manual, section "Expanded Instruction-Length Encoding").
"""

from vmjit.guest.riscv import rv_a, rv_c, rv_f, rv_i, rv_m, rv_zba, rv_zbb, rv_zbs, rv_zicond, rv_zicsr, rv_zifencei
from vmjit.guest.riscv.operands import rv64
from vmjit.isa.decoder import DecodeTable

EXTENSIONS = (rv_i, rv_m, rv_a, rv_f, rv_c, rv_zicsr, rv_zifencei, rv_zba, rv_zbb, rv_zbs, rv_zicond)

decode_table = DecodeTable(rv64, lengths=((0b11, 0b11, 4), (0, 0, 2)))
