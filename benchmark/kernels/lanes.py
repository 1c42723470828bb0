"""Sixteen grid cells at a time: LLVM vectors with the operators of numpy arrays.

The formulas of `benchmark.families` are written once, for "lanes": anything with + - * < <= == |.|.
numpy arrays are lanes (then the formulas run as they are); so are the vectors of this module,
whose operators emit LLVM instructions, so that the same formulas compile to straight-line code
that keeps a whole ensemble in registers. (A loop over members through memory costs twice as much:
the comparators of the sorting network would each load and store.)
"""

from collections.abc import Sequence
from typing import Any, Union

from llvmlite import ir
from numba.core import cgutils

WIDTH = 16
"""Cells in one vector: a 512-bit register of float32. Narrower machines split it."""

AHEAD = 1024
"""Bytes between what is read and what is asked for."""

_I64 = ir.IntType(64)
FLOAT = ir.VectorType(ir.FloatType(), WIDTH)
DOUBLE = ir.VectorType(ir.DoubleType(), WIDTH)
INT = ir.VectorType(ir.IntType(32), WIDTH)
BYTE = ir.VectorType(ir.IntType(8), WIDTH)
_BITS = ir.VectorType(_I64, WIDTH)
_BYTES = {FLOAT: 4, DOUBLE: 8, INT: 4, BYTE: 1}

Operand = Union["Lanes", float]


class Lanes:
    """A vector value under construction. Comparisons give masks; `where` chooses by them."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def _operand(self, other: Operand) -> ir.Value:
        if isinstance(other, Lanes):
            return other.value
        return ir.Constant(self.value.type, [other] * WIDTH)

    def constant(self, number: float) -> "Lanes":
        """`number` in lanes of this kind."""
        return self._make(self._operand(number))

    def _make(self, value: ir.Value) -> "Lanes":
        return Lanes(self.builder, value)

    def __add__(self, other: Operand) -> "Lanes":
        add = self.builder.add if self.value.type == INT else self.builder.fadd
        return self._make(add(self.value, self._operand(other)))

    def __sub__(self, other: Operand) -> "Lanes":
        subtract = self.builder.sub if self.value.type == INT else self.builder.fsub
        return self._make(subtract(self.value, self._operand(other)))

    def __mul__(self, other: Operand) -> "Lanes":
        multiply = self.builder.mul if self.value.type == INT else self.builder.fmul
        return self._make(multiply(self.value, self._operand(other)))

    def __abs__(self) -> "Lanes":
        kind, sign = (_BITS, 63) if self.value.type == DOUBLE else (INT, 31)
        bits = self.builder.bitcast(self.value, kind)
        cleared = self.builder.and_(bits, ir.Constant(kind, [2**sign - 1] * WIDTH))
        return self._make(self.builder.bitcast(cleared, self.value.type))

    def __lt__(self, other: Operand) -> "Lanes":
        return self._compare("<", other)

    def __ge__(self, other: Operand) -> "Lanes":
        return self._compare(">=", other)

    def equals(self, other: Operand) -> "Lanes":
        """Where both are equal (NaN never is)."""
        return self._compare("==", other)

    def positive(self) -> "Lanes":
        """Where a float32 is above 0, told by its bits."""
        bits = self._make(self.builder.bitcast(self.value, INT))
        return self._make(self.builder.icmp_signed(">", bits.value, ir.Constant(INT, [0] * WIDTH)))

    def _compare(self, sign: str, other: Operand) -> "Lanes":
        if self.value.type == INT:
            return self._make(self.builder.icmp_signed(sign, self.value, self._operand(other)))
        return self._make(self.builder.fcmp_ordered(sign, self.value, self._operand(other)))


class VectorOps:
    """What formulas need beyond operators, for `Lanes`; `benchmark.families.lanes` has numpy's."""

    def wide(self, lanes: Lanes) -> Lanes:
        """In float64."""
        return Lanes(lanes.builder, lanes.builder.fpext(lanes.value, DOUBLE))

    def where(self, mask: Lanes, then: Lanes, otherwise: Lanes) -> Lanes:
        """`then` where the mask holds."""
        select = mask.builder.select(mask.value, then.value, otherwise.value)
        return Lanes(mask.builder, select)

    def lesser(self, first: Lanes, second: Lanes) -> Lanes:
        """The smaller of both."""
        return self.where(first < second, first, second)

    def greater(self, first: Lanes, second: Lanes) -> Lanes:
        """The larger of both."""
        return self.where(first < second, second, first)

    def equal(self, first: Lanes, second: Operand) -> Lanes:
        """Where both are equal."""
        return first.equals(second)

    def count(self, masks: Sequence[Lanes]) -> Lanes:
        """How many of the masks hold, int32."""
        total: Lanes | None = None
        for mask in masks:
            one = Lanes(mask.builder, mask.builder.zext(mask.value, INT))
            total = one if total is None else total + one
        if total is None:
            raise ValueError("no mask to count")
        return total

    def number(self, count: Lanes) -> Lanes:
        """An int32 count as float64."""
        return Lanes(count.builder, count.builder.sitofp(count.value, DOUBLE))

    def whole(self, lanes: Lanes) -> Lanes:
        """A float64 number without its fraction, as int32."""
        return Lanes(lanes.builder, lanes.builder.fptosi(lanes.value, INT))

    def leading_bits(self, lanes: Lanes, shift: Lanes) -> Lanes:
        """The bits of a float32 as int32, without the last `shift` (int32 lanes) of them."""
        bits = lanes.builder.bitcast(lanes.value, INT)
        return Lanes(lanes.builder, lanes.builder.ashr(bits, shift.value))

    def floor(self, lanes: Lanes) -> Lanes:
        """Rounded down, as int32: cut, and one less where that was upwards."""
        cut = self.whole(lanes)
        above = lanes < self.number(cut)
        return cut - Lanes(lanes.builder, lanes.builder.zext(above.value, INT))


class Rows:
    """The rows of a C-contiguous 2-d array, from column `offset` on, to load and store lanes."""

    def __init__(
        self, context: Any, builder: ir.IRBuilder, array: tuple[Any, ir.Value], offset: ir.Value
    ) -> None:
        kind, value = array
        struct = context.make_array(kind)(context, builder, value)
        strides = cgutils.unpack_tuple(builder, struct.strides, kind.ndim)
        size = ir.Constant(_I64, kind.dtype.bitwidth // 8)
        start = builder.ptrtoint(struct.data, _I64)
        self.builder = builder
        self._start = builder.add(start, builder.mul(offset, size))
        self._stride = strides[0] if kind.ndim == 2 else ir.Constant(_I64, 0)

    def _pointer(self, row: int, kind: ir.Type, first: ir.Value | None) -> ir.Value:
        number: ir.Value = ir.Constant(_I64, row)
        if first is not None:
            number = self.builder.add(number, first)
        step = self.builder.mul(self._stride, number)
        return self.builder.inttoptr(self.builder.add(self._start, step), kind.as_pointer())

    def load(self, row: int, kind: ir.Type, first: ir.Value | None = None) -> Lanes:
        """Lanes of row `first` + `row`."""
        loaded = self.builder.load(self._pointer(row, kind, first))
        loaded.align = _BYTES[kind]
        return Lanes(self.builder, loaded)

    def load_any(self, kind: ir.Type, first: ir.Value) -> ir.Value:
        """A vector of whatever kind from row `first`."""
        loaded = self.builder.load(self._pointer(0, kind, first))
        loaded.align = 4
        return loaded

    def store_any(self, value: ir.Value, first: ir.Value) -> None:
        """Write a vector of whatever width into row `first`."""
        self.builder.store(value, self._pointer(0, value.type, first)).align = 4

    def prefetch(self, row: int) -> None:
        """Ask for what will be read of a row soon.

        The members of an ensemble are more streams than the processor follows by itself.
        """
        step = self.builder.mul(self._stride, ir.Constant(_I64, row))
        ahead = self.builder.add(step, ir.Constant(_I64, AHEAD))
        prefetch(self.builder, self.builder.add(self._start, ahead))

    def store(self, row: int, lanes: Lanes, first: ir.Value | None = None) -> None:
        """Write lanes into row `first` + `row`."""
        kind = lanes.value.type
        self.builder.store(lanes.value, self._pointer(row, kind, first)).align = _BYTES[kind]


def prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Ask for the cache line at an address; one beyond the array does no harm."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    pointer = builder.inttoptr(address, byte)
    builder.call(function, [pointer, *(ir.Constant(flag, k) for k in (0, 1, 1))])


def splat(builder: ir.IRBuilder, value: ir.Value) -> Lanes:
    """A number in every lane."""
    kind = ir.VectorType(value.type, WIDTH)
    undefined = ir.Constant(kind, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(_I64, 0))
    order = ir.Constant(INT, [0] * WIDTH)
    return Lanes(builder, builder.shuffle_vector(single, undefined, order))


def any_of(mask: Lanes) -> ir.Value:
    """1 where the mask holds in any lane, else 0, as a 64-bit integer."""
    bits = mask.builder.bitcast(mask.value, ir.IntType(WIDTH))
    some = mask.builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))
    return mask.builder.zext(some, _I64)


def reduce_or(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The bits that any lane of an int32 vector has, as one int32."""
    name = f"llvm.vector.reduce.or.v{WIDTH}i32"
    kind = ir.FunctionType(ir.IntType(32), [INT])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [value])
