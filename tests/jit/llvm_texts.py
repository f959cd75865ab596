"""LLVM texts for the tests of jit; one for each thing that an object file may hold."""

ADD = """
define i64 @add(i64 %a, i64 %b) nounwind {
  %r = add i64 %a, %b
  ret i64 %r
}
"""

CALL = (
    ADD.replace("nounwind", "nounwind noinline")
    + """
define i64 @add_twice(i64 %a, i64 %b) nounwind {
  %r = call i64 @add(i64 %a, i64 %b)
  %s = call i64 @add(i64 %r, i64 %b)
  ret i64 %s
}
"""
)

# A jump table and a pool of constants, each case another operation so that neither becomes a table of results.
SWITCH = """
define double @operate(i64 %which, double %x) nounwind {
  switch i64 %which, label %other [i64 0, label %c0 i64 1, label %c1 i64 2, label %c2 i64 3, label %c3 i64 4, label %c4]
c0:
  %r0 = fadd double %x, 1.5
  ret double %r0
c1:
  %r1 = fmul double %x, 3.5
  ret double %r1
c2:
  %r2 = fsub double %x, 11.5
  ret double %r2
c3:
  ret double 3.25
c4:
  %r4 = fdiv double 12.5, %x
  ret double %r4
other:
  ret double -1.0
}
"""

DATA = """
@table = internal constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]
@start = internal global i64 7
@count = internal global i64 0
@visible = dso_local global i64 99

define i64 @next(i64 %i) nounwind {
  %entry = getelementptr i64, ptr @table, i64 %i
  %value = load i64, ptr %entry
  %first = load i64, ptr @start
  %old = load volatile i64, ptr @count
  %new = add i64 %old, 1
  store volatile i64 %new, ptr @count
  %a = add i64 %value, %new
  %b = add i64 %a, %first
  ret i64 %b
}
"""

LIBCALL = """
define double @remainder(double %x, double %y) nounwind {
  %r = frem double %x, %y
  ret double %r
}
"""

ADDRESSES = ADD + "@addresses = dso_local constant [1 x ptr] [ptr @add]\n"

THREAD_LOCAL = """
@mine = internal thread_local(localexec) global i64 0
define i64 @get() nounwind {
  %v = load i64, ptr @mine
  ret i64 %v
}
"""


def with_lines(version: int) -> str:
    """Two functions whose instructions have lines that jump about: 2 000 000 and back."""
    return f"""
define i64 @first(i64 %a, i64 %b) nounwind !dbg !4 {{
  %p = mul i64 %a, %b, !dbg !7
  %q = xor i64 %p, %a, !dbg !8
  %r = call i64 @second(i64 %q, i64 %b), !dbg !9
  %s = sub i64 %r, %b, !dbg !7
  ret i64 %s, !dbg !9
}}
define i64 @second(i64 %a, i64 %b) nounwind noinline !dbg !10 {{
  %p = add i64 %a, %b, !dbg !11
  %q = mul i64 %p, %p, !dbg !12
  ret i64 %q, !dbg !11
}}
!llvm.dbg.cu = !{{!0}}
!llvm.module.flags = !{{!2, !3}}
!0 = distinct !DICompileUnit(language: DW_LANG_C99, file: !1, emissionKind: LineTablesOnly, nameTableKind: None)
!1 = !DIFile(filename: "region", directory: "/")
!2 = !{{i32 2, !"Dwarf Version", i32 {version}}}
!3 = !{{i32 2, !"Debug Info Version", i32 3}}
!4 = distinct !DISubprogram(name: "first", scope: !1, file: !1, line: 1, type: !5, unit: !0, spFlags: 8)
!5 = !DISubroutineType(types: !6)
!6 = !{{}}
!7 = !DILocation(line: 100, scope: !4)
!8 = !DILocation(line: 2000000, scope: !4)
!9 = !DILocation(line: 3, scope: !4)
!10 = distinct !DISubprogram(name: "second", scope: !1, file: !1, line: 1, type: !5, unit: !0, spFlags: 8)
!11 = !DILocation(line: 50, scope: !10)
!12 = !DILocation(line: 60, scope: !10)
"""


# The convention of handlers and regions: ten arguments in registers, each function jumps through a table of pointers.
CHAIN = """
define dso_local i64 @enter(ptr %table, i64 %n) nounwind {
  %result = alloca i64
  %first = load ptr, ptr %table
  call preserve_nonecc void %first(ptr %table, i64 %n, ptr %result, i64 1, i64 2, i64 3, i64 4, i64 5, i64 6, i64 7)
  %r = load i64, ptr %result
  ret i64 %r
}
define dso_local preserve_nonecc void @count(ptr %t, i64 %n, ptr %r, i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f,
                                             i64 %g) nounwind {
  %m = sub i64 %n, 1
  %done = icmp eq i64 %m, 0
  %slot = getelementptr ptr, ptr %t, i64 1
  %which = select i1 %done, ptr %slot, ptr %t
  %next = load ptr, ptr %which
  %h = add i64 %a, %g
  musttail call preserve_nonecc void %next(ptr %t, i64 %m, ptr %r, i64 %h, i64 %c, i64 %d, i64 %e, i64 %f, i64 %b,
                                           i64 %g)
  ret void
}
define dso_local preserve_nonecc void @leave(ptr %t, i64 %n, ptr %r, i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f,
                                             i64 %g) nounwind {
  %tens = mul i64 %b, 1000000000
  %s = add i64 %tens, %a
  store i64 %s, ptr %r
  ret void
}
"""
