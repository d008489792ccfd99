"""The operators that a step is written with, so that one description runs on vectors, floats, many digits and balls.

A description is Python code on numbers of any kind. Where the number is a `Value`, an operation asks the value's
backend, which writes an LLVM instruction or notes what depends on what. A parameter that is neutral is a Python float,
and operations with 0 and 1 then fold away: so the plain step is the general one with neutral parameters, and not code
of its own. Only ``0 x``, ``1 x`` and ``x + 0`` fold, which changes no digit of a finite number.

A choice (`where`) stands only between formulas that are equal in exact arithmetic, but for the first step: so that
balls, which cannot always compare, may take either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Number = Any  # a Value, a float, an array, or a number with the operators of Python


# What carries out the operations of a `Value`: it has the methods add, sub, mul, div, fma, neg, sqrt, abs, less, both,
# select and constant.
Backend = Any


class Value:
    """A number that its backend knows: a vector of lanes, or a place in a graph of dependences."""

    __slots__ = ("to", "v")

    def __init__(self, to: Backend, v: Any) -> None:
        self.to, self.v = to, v

    def of(self, x: Number) -> Any:
        """Return another operand as the backend knows it."""
        return x.v if isinstance(x, Value) else self.to.constant(float(x))

    def __add__(self, x: Number) -> Number:
        return self if _is(x, 0) else Value(self.to, self.to.add(self.v, self.of(x)))

    def __sub__(self, x: Number) -> Number:
        return self if _is(x, 0) else Value(self.to, self.to.sub(self.v, self.of(x)))

    def __rsub__(self, x: Number) -> Number:
        return -self if _is(x, 0) else Value(self.to, self.to.sub(self.of(x), self.v))

    def __mul__(self, x: Number) -> Number:
        if _is(x, 0):
            return 0.0
        return self if _is(x, 1) else Value(self.to, self.to.mul(self.v, self.of(x)))

    def __truediv__(self, x: Number) -> Number:
        return self if _is(x, 1) else Value(self.to, self.to.div(self.v, self.of(x)))

    def __rtruediv__(self, x: Number) -> Number:
        return Value(self.to, self.to.div(self.of(x), self.v))

    def __neg__(self) -> Number:
        return Value(self.to, self.to.neg(self.v))

    def __lt__(self, x: Number) -> Number:
        return Value(self.to, self.to.less(self.v, self.of(x)))

    def __gt__(self, x: Number) -> Number:
        return Value(self.to, self.to.less(self.of(x), self.v))

    def __and__(self, x: Number) -> Number:
        if isinstance(x, bool):
            return self if x else False
        return Value(self.to, self.to.both(self.v, x.v))

    __radd__, __rmul__, __rand__ = __add__, __mul__, __and__


def _is(x: Number, constant: int) -> bool:
    return isinstance(x, float | int) and x == constant


def is_zero(x: Number) -> bool:
    """Whether a number is known to be 0 while the code is written: a parameter that is not there."""
    return _is(x, 0)


def is_one(x: Number) -> bool:
    """Whether a number is known to be 1 while the code is written."""
    return _is(x, 1)


def fma(x: Number, y: Number, z: Number) -> Number:
    """Return ``x y + z``, rounded once where the numbers are vectors."""
    if _is(x, 0) or _is(y, 0):
        return z
    if _is(x, 1) or _is(y, 1):
        return (y if _is(x, 1) else x) + z
    if _is(z, 0):
        return x * y
    value = _value(x, y, z)
    if value is None:
        return x * y + z
    return Value(value.to, value.to.fma(value.of(x), value.of(y), value.of(z)))


def sqrt(x: Number) -> Number:
    """Return the square root."""
    if isinstance(x, Value):
        return Value(x.to, x.to.sqrt(x.v))
    if isinstance(x, float | int | np.ndarray):
        return np.sqrt(x)
    return x.sqrt() if hasattr(x, "sqrt") else x**0.5


def size(x: Number) -> Number:
    """Return the absolute value."""
    return Value(x.to, x.to.abs(x.v)) if isinstance(x, Value) else abs(x)


def where(condition: Number, x: Number, y: Number) -> Number:
    """Return x where the condition holds, else y."""
    if x is y:
        return x
    if isinstance(condition, Value):
        return Value(condition.to, condition.to.select(condition.v, condition.of(x), condition.of(y)))
    if isinstance(condition, np.ndarray):
        return np.where(condition, x, y)
    return x if condition else y


def same(x: Number, y: Number) -> Number:
    """Return x, which is y in exact arithmetic; of balls the one with more good digits."""
    if isinstance(x, Value):
        return Value(x.to, x.to.same(x.v, x.of(y))) if hasattr(x.to, "same") else x
    try:
        return y if x.rel_accuracy_bits() < y.rel_accuracy_bits() else x
    except AttributeError:
        return x


def largest(x: Number, y: Number) -> Number:
    """Return the larger of two numbers."""
    return where(x < y, y, x)


def _value(*numbers: Number) -> Value | None:
    return next((x for x in numbers if isinstance(x, Value)), None)


class Named:
    """Numbers by name, each made when it is first asked for."""

    def __init__(self, make: Callable[[str], Number], **known: Number) -> None:
        self.__dict__.update(known)
        self._make = make

    def __getattr__(self, name: str) -> Number:
        value = self._make(name)
        self.__dict__[name] = value
        return value


class Uses:
    """The backend that notes which named numbers a result depends on."""

    def _union(self, *sets: frozenset[str]) -> frozenset[str]:
        return frozenset().union(*sets)

    add = sub = mul = div = fma = neg = sqrt = abs = less = both = select = _union

    def constant(self, value: float) -> frozenset[str]:
        """Return what a constant depends on."""
        return frozenset()

    def named(self, name: str) -> Value:
        """Return the number of that name."""
        return Value(self, frozenset([name]))


def uses(x: Number) -> frozenset[str]:
    """Return the names that a result made with `Uses` depends on."""
    return x.v if isinstance(x, Value) else frozenset()


INFINITY = math.inf
