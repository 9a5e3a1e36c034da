"""A sum of gathered rows in vector registers, which LLVM does not find by itself in a loop over rows."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_VECTOR = ir.VectorType(ir.FloatType(), 8)
_INDEX = ir.IntType(64)
# Accumulators at once, of the sixteen registers that AVX2 has.
_AT_ONCE = 13


def gather_sum(width: int, count: int, weighted: bool = False):
    """Make a function (rows, indices, first, total[, weights]): total += Σ_j weights_j rows[indices[first + j]].

    Parameters
    ----------
    width : int
        Numbers in a row, a multiple of 8.
    count : int
        Rows in the sum; the loop over them is unrolled.
    weighted : bool
        Whether there are weights.
    """

    def emit(context, builder, signature, args):
        def data(k):
            return context.make_array(signature.args[k])(context, builder, args[k]).data

        rows, indices, total = data(0), data(1), data(3)
        first = context.cast(builder, args[2], signature.args[2], types.int64)
        for start in range(0, width, 8 * _AT_ONCE):
            columns = range(start, min(width, start + 8 * _AT_ONCE), 8)
            places = [_vector_at(builder, total, _INDEX(column)) for column in columns]
            sums = [_loaded(builder, place) for place in places]
            for j in range(count):
                index = builder.load(builder.gep(indices, [builder.add(first, _INDEX(j))]))
                base = builder.mul(builder.zext(index, _INDEX), _INDEX(width))
                if weighted:
                    weight = _splat(builder, builder.load(builder.gep(data(4), [_INDEX(j)])))
                for m, column in enumerate(columns):
                    row = _loaded(builder, _vector_at(builder, rows, builder.add(base, _INDEX(column))))
                    row = builder.fmul(row, weight, flags=("fast",)) if weighted else row
                    sums[m] = builder.fadd(sums[m], row, flags=("fast",))
            for value, place in zip(sums, places, strict=True):
                builder.store(value, place).align = 4
        return context.get_dummy_value()

    if weighted:

        @intrinsic
        def gather(typing, rows, indices, first, total, weights):
            return types.void(rows, indices, first, total, weights), emit
    else:

        @intrinsic
        def gather(typing, rows, indices, first, total):
            return types.void(rows, indices, first, total), emit

    return gather


def _vector_at(builder, base, offset):
    return builder.bitcast(builder.gep(base, [offset]), _VECTOR.as_pointer())


def _loaded(builder, place):
    value = builder.load(place, typ=_VECTOR)
    value.align = 4
    return value


def _splat(builder, scalar):
    value = cgutils.get_null_value(_VECTOR)
    for lane in range(8):
        value = builder.insert_element(value, scalar, ir.IntType(32)(lane))
    return value
