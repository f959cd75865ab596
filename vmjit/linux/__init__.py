"""The user-mode Linux world: what a program finds when the kernel starts it, and what its system calls do.

It knows guest memory but no CPU. The engine makes a Process, starts it and calls syscall(); the end of the guest is an
exception, Exited or Killed, and that of a thread ThreadExited.
"""

from vmjit.linux.outcome import Exited, Killed, ThreadExited
from vmjit.linux.process import Process
from vmjit.linux.thread import Thread

__all__ = ["Exited", "Killed", "Process", "Thread", "ThreadExited"]
