"""Every exception vmjit raises.

    VmjitError
      UsageError              a command line asks for something that is not there
      SettingsError           an environment variable or an option has a value that means nothing
      DescriptionError        a guest is written wrongly (import time)
        EncodingError         an encoding row cannot be read
        OverlapError          two encodings match the same bits
      GuestError              the program cannot be run
        ElfError              the file is not an executable this machine can load
        MemoryAccessError     guest memory that is not mapped, or not with that permission
        AssemblyError         text that names no instruction, or operands that do not fit
      InternalError           our fault; please report
        ParseError            an IR text that does not read back
        VerifyError           IR that breaks an invariant
        MismatchError         two executions of the same code differ
        CompileError          LLVM refused a module
          WorkerError         the process that compiles cannot be started

What a guest program does wrong while it runs is never an exception: it is an exit reason or a guest signal.
"""


class VmjitError(Exception):
    """Root of all exceptions of this package; its message says what to do."""


class UsageError(VmjitError):
    """The command line asks for something that is not there."""


class SettingsError(VmjitError):
    """An environment variable or an option has a value that means nothing; the message says what would."""


class DescriptionError(VmjitError):
    """A guest description is wrong."""


class EncodingError(DescriptionError):
    """An encoding row cannot be read, or does not have 16 or 32 bits."""


class OverlapError(DescriptionError):
    """Two encodings match the same bits and neither says it lies within the other."""


class GuestError(VmjitError):
    """The guest program cannot be run."""


class ElfError(GuestError):
    """The file is not an executable that can be loaded; the message says why in one line."""


class MemoryAccessError(GuestError):
    """Guest memory that is not mapped, or not with the permission asked for."""


class AssemblyError(GuestError):
    """Assembly text that names no instruction, or whose operands do not fit."""


class InternalError(VmjitError):
    """A defect of vmjit."""


class ParseError(InternalError):
    """IR text that cannot be read back."""


class VerifyError(InternalError):
    """IR that breaks one of the invariants listed in ir/verify.py."""


class MismatchError(InternalError):
    """Two executions of the same guest code differ."""


class CompileError(InternalError):
    """LLVM refused a module."""


class WorkerError(CompileError):
    """The process that compiles cannot be started; the message says why. The host's doing, and no defect."""
