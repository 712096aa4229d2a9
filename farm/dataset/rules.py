"""Which rows of a data set are chosen, by a rule over its columns: `width >= 400 and blur > 100 and not has_alpha`.

A rule is read by Python's grammar, and nothing else of Python is there. Names are columns; numbers, texts, True, False
and None are values. The operators are and, or, not, < <= == != >= > (chained too), in and not in a list of values, is
None and is not None, + - * / and minus, and min, max and abs of numbers.

What is null: a comparison with null, or with what arithmetic makes of it, is false, `!=` and `not in` too; so is a
true-or-false column that is null. `not` turns that round: `not blur > 100` keeps rows whose blur is null. `is None`
asks. Arithmetic is in float64; x / 0 is infinite and 0 / 0 no number, of which no comparison but `!=` holds.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from farm.errors import UsageError

_MOST_CHARACTERS = 10_000
_MOST_DEPTH = 100
_MOST_WHOLE = 2**63 - 1

_COMPARISONS: Mapping[type[ast.cmpop], str] = MappingProxyType(
    {
        ast.Lt: "less",
        ast.LtE: "less_equal",
        ast.Eq: "equal",
        ast.NotEq: "not_equal",
        ast.GtE: "greater_equal",
        ast.Gt: "greater",
    }
)
_ARITHMETIC: Mapping[type[ast.operator], str] = MappingProxyType(
    {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}
)
_FUNCTIONS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"min": ("min_element_wise", 2), "max": ("max_element_wise", 2), "abs": ("abs", 1)}
)
"""name in a rule -> Arrow's function and the least number of arguments"""
_NUMBER, _TEXT, _TRUTH, _NULL = "a number", "a text", "true or false", "None"
_KINDS: Mapping[type, str] = MappingProxyType({bool: _TRUTH, int: _NUMBER, float: _NUMBER, str: _TEXT})

Evaluate = Callable[[Any], Any]
"""from a record batch to an Arrow array or scalar; truths hold no null"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """A part of a rule, ready to be asked."""

    kind: str
    of: Evaluate
    value: object = None
    """of a literal"""
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that means something over its columns."""

    text: str
    columns: frozenset[str]
    """that it asks; a batch must have them"""
    _of: Evaluate

    def keep(self, batch: Any) -> Any:
        """For each row of a record batch whether the rule holds: an Arrow array of true and false without nulls."""
        found = self._of(batch)
        return _arrow().repeat(found, batch.num_rows) if isinstance(found, _arrow().Scalar) else found


def parse_rule(text: str, columns: Mapping[str, type]) -> Rule:
    """Read a rule over columns of bool, int, float or str.

    Raises:
        UsageError: it cannot be read, names no column, or compares what cannot be compared.
    """
    reader = _Reader(text, columns)
    term = reader.read()
    return Rule(text=text, columns=frozenset(reader.asked), _of=term.of)


class _Reader:
    """Turns the syntax tree of one rule into terms, and refuses whatever is not listed above."""

    def __init__(self, text: str, columns: Mapping[str, type]) -> None:
        self._text = text.strip()
        self._columns = columns
        self.asked: set[str] = set()

    def read(self) -> _Term:
        if len(self._text) > _MOST_CHARACTERS:
            raise UsageError(f"rule: {len(self._text)} characters (limit {_MOST_CHARACTERS}); say it shorter")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # such as of escapes that mean nothing: not printed, refused
                tree = ast.parse(self._text, mode="eval")
        except (SyntaxError, Warning, ValueError, MemoryError, RecursionError) as error:
            found = error.msg if isinstance(error, SyntaxError) else "it is too deep or holds bytes of no text"
            raise self._refused(f"cannot be read ({found}); write it like width >= 400 and blur > 100") from error
        return self._truth(tree.body, 0)

    def _refused(self, found: str) -> UsageError:
        shown = self._text if len(self._text) <= 200 else f"{self._text[:200]}..."
        return UsageError(f"rule: {shown!r}: {found}")

    def _said(self, node: ast.AST) -> str:
        """As it stands in the rule. (Written anew, a deep one would go deeper than Python goes.)"""
        return (ast.get_source_segment(self._text, node) or type(node).__name__)[:80]

    def _truth(self, node: ast.expr, depth: int) -> _Term:
        term = self._term(node, depth)
        if term.kind != _TRUTH:
            raise self._refused(
                f"{self._said(node)} is {term.kind}, and here stands what is {_TRUTH}; compare it with something"
            )
        return term

    def _number(self, node: ast.expr, depth: int) -> _Term:
        term = self._term(node, depth)
        if term.kind != _NUMBER:
            raise self._refused(f"{self._said(node)} is {term.kind}, and here stands {_NUMBER}; compare it instead")
        return term

    def _term(self, node: ast.expr, depth: int) -> _Term:
        if depth > _MOST_DEPTH:
            raise self._refused(f"its parts lie more than {_MOST_DEPTH} deep; say it shorter")
        match node:
            case ast.BoolOp():
                return self._joined(node, depth + 1)
            case ast.UnaryOp():
                return self._unary(node, depth + 1)
            case ast.Compare():
                return self._compared(node, depth + 1)
            case ast.BinOp():
                return self._calculated(node, depth + 1)
            case ast.Call():
                return self._called(node, depth + 1)
            case ast.Name():
                return self._column(node)
            case ast.Constant():
                return self._literal(node)
            case _:
                known = "use columns, values, comparisons, and, or, not"
                raise self._refused(f"{self._said(node)} is nothing a rule can say; {known}")

    def _joined(self, node: ast.BoolOp, depth: int) -> _Term:
        name = "and" if isinstance(node.op, ast.And) else "or"
        return _Term(kind=_TRUTH, of=_folded(name, [self._truth(part, depth).of for part in node.values]))

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Term:
        if isinstance(node.op, ast.Not):
            return _Term(kind=_TRUTH, of=_applied("invert", self._truth(node.operand, depth).of))
        if not isinstance(node.op, ast.USub):
            raise self._refused(f"{self._said(node)} is nothing a rule can say; only - and not stand before a value")
        term = self._number(node.operand, depth)
        if term.literal:
            return _of_value(-cast(float, term.value), _NUMBER)
        return _Term(kind=_NUMBER, of=_applied("negate", _as_float(term.of)))

    def _calculated(self, node: ast.BinOp, depth: int) -> _Term:
        name = _ARITHMETIC.get(type(node.op))
        if name is None:
            raise self._refused(f"{self._said(node)} is nothing a rule can say; arithmetic is + - * /")
        left, right = self._number(node.left, depth), self._number(node.right, depth)
        return _Term(kind=_NUMBER, of=_applied(name, _as_float(left.of), _as_float(right.of)))

    def _called(self, node: ast.Call, depth: int) -> _Term:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        known, least = _FUNCTIONS.get(name, ("", 0))
        right = len(node.args) >= least and (least > 1 or len(node.args) == 1) and not node.keywords
        if not known or not right:
            raise self._refused(
                f"{self._said(node)} is nothing a rule can say; functions are min(a, b), max(a, b) and abs(a)"
            )
        parts = [_as_float(self._number(part, depth).of) for part in node.args]
        return _Term(
            kind=_NUMBER, of=_applied(known, *parts, skip_nulls=False) if least > 1 else _applied(known, *parts)
        )

    def _column(self, node: ast.Name) -> _Term:
        name = node.id
        if name not in self._columns:
            known = ", ".join(sorted(self._columns)) or "none"
            raise self._refused(f"no column {name}; the columns are {known}")
        self.asked.add(name)
        kind = _KINDS[self._columns[name]]
        return _Term(kind=kind, of=_filled(_held(name)) if kind == _TRUTH else _held(name))

    def _literal(self, node: ast.Constant) -> _Term:
        value: object = node.value
        if value is None:
            return _Term(kind=_NULL, of=lambda _: None, literal=True)
        kind = _KINDS.get(type(value))
        if kind is None or (isinstance(value, int) and abs(value) > _MOST_WHOLE):
            raise self._refused(
                f"{self._said(node)} is no value of a rule; use numbers of 64 bits, texts, True, False and None"
            )
        return _of_value(value, kind)

    def _compared(self, node: ast.Compare, depth: int) -> _Term:
        """a < b < c is a < b and b < c."""
        operands = [node.left, *node.comparators]
        pairs = zip(node.ops, operands[:-1], operands[1:], strict=True)
        return _Term(kind=_TRUTH, of=_folded("and", [self._pair(*pair, depth) for pair in pairs]))

    def _pair(self, operator: ast.cmpop, left: ast.expr, right: ast.expr, depth: int) -> Evaluate:
        one = self._term(left, depth)
        if isinstance(operator, (ast.In, ast.NotIn)):
            return self._member(operator, left, one, right, depth)
        other = self._term(right, depth)
        if isinstance(operator, (ast.Is, ast.IsNot)):
            return self._null(operator, left, other)
        said = f"{self._said(left)} ({one.kind}) with {self._said(right)} ({other.kind})"
        ordered = not isinstance(operator, (ast.Eq, ast.NotEq))
        if _NULL in (one.kind, other.kind):
            raise self._refused(f"it compares {said}; ask with is None or is not None")
        if one.kind != other.kind or (ordered and one.kind == _TRUTH):
            raise self._refused(f"it compares {said}; only like can be compared with like")
        return _filled(_applied(_COMPARISONS[type(operator)], one.of, other.of))

    def _null(self, operator: ast.cmpop, left: ast.expr, other: _Term) -> Evaluate:
        if other.kind != _NULL or not isinstance(left, ast.Name):
            raise self._refused("is and is not stand between a column and None; compare with == and !=")
        absent = _applied("is_null", _held(left.id))  # the column itself: a truth has no nulls any more
        return absent if isinstance(operator, ast.Is) else _applied("invert", absent)

    def _member(self, operator: ast.cmpop, left: ast.expr, one: _Term, right: ast.expr, depth: int) -> Evaluate:
        if not isinstance(right, (ast.Tuple, ast.List, ast.Set)) or not right.elts:
            raise self._refused(
                f"in wants a list of values, and finds {self._said(right)}; write format in ('png', 'jpg')"
            )
        values = [self._term(part, depth) for part in right.elts]
        if not all(value.literal and value.kind == one.kind != _NULL for value in values):
            raise self._refused(
                f"{self._said(right)} is no list of values like {self._said(left)}; write {one.kind} each"
            )
        equal = [_applied("equal", one.of, value.of) for value in values]
        if isinstance(operator, ast.In):
            return _folded("or", [_filled(test) for test in equal])
        return _folded("and", [_filled(_applied("not_equal", one.of, value.of)) for value in values])


def _arrow() -> Any:
    import pyarrow  # only who asks a rule pays for it

    arrow: Any = pyarrow
    return arrow


def _compute() -> Any:
    from pyarrow import compute

    arrow: Any = compute
    return arrow


def _held(name: str) -> Evaluate:
    """What a batch has in a column."""
    return lambda batch: batch.column(name)


def _of_value(value: object, kind: str) -> _Term:
    return _Term(kind=kind, of=lambda _: _arrow().scalar(value), value=value, literal=True)


def _applied(name: str, *parts: Evaluate, **options: object) -> Evaluate:
    """An Arrow function of the parts."""
    return lambda batch: getattr(_compute(), name)(*(part(batch) for part in parts), **options)


def _as_float(part: Evaluate) -> Evaluate:
    return lambda batch: _compute().cast(part(batch), "double", safe=False)


def _filled(part: Evaluate) -> Evaluate:
    """Null counts as false, also in a column that knows no type because all of it is null."""
    return lambda batch: _compute().fill_null(_compute().cast(part(batch), "bool"), False)


def _folded(name: str, parts: Sequence[Evaluate]) -> Evaluate:
    """All of the truths, or any."""

    def made(batch: Any) -> Any:
        join = getattr(_compute(), f"{name}_")
        found = parts[0](batch)
        for part in parts[1:]:
            found = join(found, part(batch))
        return found

    return made
