"""Debug locations of a region: how the guest instruction of a memory access is found again in its code."""

from dataclasses import dataclass, field

from vmjit.ir.layout import LINE_BIAS


@dataclass
class Lines:
    """Debug locations of memory accesses: line LINE_BIAS + n stands for the guest address `base` + 2 * n."""

    base: int
    numbers: dict[int, int] = field(default_factory=dict)  # line -> metadata id

    FIRST_ID = 10

    def attachment(self, pc: int) -> str:
        line = (pc - self.base) // 2 + LINE_BIAS
        return f", !dbg !{self.numbers.setdefault(line, self.FIRST_ID + len(self.numbers))}"

    def metadata(self, name: str) -> str:
        """The module's metadata, with a subprogram !3 for the one function."""
        rows = [
            "!llvm.module.flags = !{!0}",
            "!llvm.dbg.cu = !{!1}",
            '!0 = !{i32 2, !"Debug Info Version", i32 3}',
            "!1 = distinct !DICompileUnit(language: DW_LANG_C99, file: !2, emissionKind: LineTablesOnly)",
            '!2 = !DIFile(filename: "guest", directory: "")',
            f'!3 = distinct !DISubprogram(name: "{name}", file: !2, type: !4, unit: !1, spFlags: DISPFlagDefinition)',
            "!4 = !DISubroutineType(types: !5)",
            "!5 = !{}",
        ]
        rows += [f"!{number} = !DILocation(line: {line}, scope: !3)" for line, number in self.numbers.items()]
        return "\n".join(rows) + "\n"
