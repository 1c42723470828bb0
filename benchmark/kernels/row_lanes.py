"""Loops over the columns of a row in vectors: what code generation of several kernels shares.

`benchmark.kernels.lanes` turns formulas into one block of instructions; here whole loops are
written, so that sums stay in registers from one vector to the next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from benchmark.kernels.lanes import WIDTH, splat

_I64 = ir.IntType(64)


def number(value: int) -> ir.Constant:
    """A 64-bit integer."""
    return ir.Constant(_I64, value)


def constant(kind: ir.VectorType, value: float) -> ir.Constant:
    """A number in every lane."""
    return ir.Constant(kind, [value] * WIDTH)


class RowCode:
    """The code of one intrinsic under construction; its arguments are called by their place."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> None:
        self.context, self.builder = context, builder
        self.kinds, self.args = signature.args, args

    def vector(self, place: int) -> ir.VectorType:
        """Lanes of what an array holds."""
        return ir.VectorType(self.context.get_data_type(self.kinds[place].dtype), WIDTH)

    def _struct(self, place: int) -> Any:
        array = self.context.make_array(self.kinds[place])
        return array(self.context, self.builder, self.args[place])

    def length(self, place: int) -> ir.Value:
        """How long an array is along its first axis."""
        return self.builder.extract_value(self._struct(place).shape, 0)

    def _pointer(self, place: int, index: tuple[ir.Value, ...]) -> ir.Value:
        return cgutils.get_item_pointer(
            self.context, self.builder, self.kinds[place], self._struct(place), index
        )

    def load(self, place: int, *index: ir.Value) -> ir.Value:
        """Lanes of an array, from `index` on along the last axis."""
        kind = self.vector(place).as_pointer()
        loaded = self.builder.load(self.builder.bitcast(self._pointer(place, index), kind))
        loaded.align = self.kinds[place].dtype.bitwidth // 8
        return loaded

    def store(self, lanes: ir.Value, place: int, *index: ir.Value) -> None:
        """Write lanes into an array."""
        pointer = self.builder.bitcast(self._pointer(place, index), lanes.type.as_pointer())
        self.builder.store(lanes, pointer).align = self.kinds[place].dtype.bitwidth // 8

    def everywhere(self, place: int, *index: ir.Value) -> ir.Value:
        """One number of an array, in every lane."""
        return splat(self.builder, self.builder.load(self._pointer(place, index))).value

    def numbers(self, place: int, count: int) -> list[ir.Value]:
        """A tuple of numbers."""
        return list(cgutils.unpack_tuple(self.builder, self.args[place], count))

    @contextmanager
    def each(self, start: ir.Value, stop: ir.Value, step: int = WIDTH) -> Iterator[ir.Value]:
        """A loop over start, start + step, ... below stop."""
        stride = number(step)
        with cgutils.for_range_slice(self.builder, start, stop, stride, _I64) as (index, _):
            yield index

    def variable(self, kind: ir.Type) -> ir.Value:
        """Lanes of zeros that a loop may change: a register."""
        place = cgutils.alloca_once(self.builder, kind)
        self.builder.store(ir.Constant(kind, None), place)
        return place

    def increase(self, variable: ir.Value, lanes: ir.Value) -> None:
        """Add integers to a variable."""
        self.builder.store(self.builder.add(self.builder.load(variable), lanes), variable)
