"""The mistakes: from the source of a module to mutated code objects. Pure."""

import ast
import copy
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Final, NamedTuple

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}


class Mutant(NamedTuple):
    """``outer`` names the function of the module, or method of a class of it, whose code is exchanged; ``what`` the
    mistake in ``line`` is, as source."""

    outer: str
    line: int
    what: str
    code: CodeType


class _Site(NamedTuple):
    """A node to be replaced in a copy of the tree, where it is and by what."""

    node: ast.AST
    replacement: ast.AST
    operator: str


def mutants_of(source: str, file: str) -> Iterator[Mutant]:
    """Every mutant of what runs inside functions. What runs when the module is loaded (constants, defaults,
    decorators, annotations, docstrings) is left alone, and so are assertions and messages of errors."""
    for classes, function in _functions(ast.parse(source), ()):
        outer = ".".join((*classes, function.name))
        for site in _sites(function):
            found = _code_of(_alone(classes, _with(function, site), file), outer, lambda _: True)
            if found is not None:
                before, after = (ast.unparse(each) for each in (site.node, site.replacement))
                what = f"{site.operator}: {_short(before)} -> {_short(after)}"
                yield Mutant(outer, getattr(site.node, "lineno", function.lineno), what, found)


def original_code(source: str, file: str, mutant: Mutant) -> CodeType | None:
    """Of the very function that was changed: its overloads, or the other half of a property, have the same name."""
    first_line = mutant.code.co_firstlineno
    return _code_of(compile(source, file, "exec"), mutant.outer, lambda code: code.co_firstlineno == first_line)


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.AST, classes: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], _Function]]:
    """Functions of a module and methods of its classes, with the names of these; not those inside of others."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _Function):
            yield classes, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, (*classes, node.name))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _functions(node, classes)


def _alone(classes: tuple[str, ...], function: _Function, file: str) -> CodeType:
    """A module with this function alone, in classes of these names: its code is the same as in the whole module."""
    node: ast.stmt = function
    for name in reversed(classes):
        node = ast.ClassDef(name=name, bases=[], keywords=[], body=[node], decorator_list=[])
    return compile(ast.fix_missing_locations(ast.Module([node], [])), file, "exec")


def _code_of(code: CodeType, qualified_name: str, is_wanted: Callable[[CodeType], bool]) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == qualified_name and is_wanted(constant):
                return constant
            if found := _code_of(constant, qualified_name, is_wanted):
                return found
    return None


def _sites(function: _Function) -> Iterator[_Site]:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    for statement in body:
        yield from _in_statement(statement)


def _in_statement(node: ast.stmt) -> Iterator[_Site]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _sites(node)
            return
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Global() | ast.Nonlocal():
            return
        case ast.Raise():
            yield _Site(node, ast.Pass(), "statement removed")
            return
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Expr() if not _yields(node):
            yield _Site(node, ast.Pass(), "statement removed")
        case ast.AugAssign():
            yield _Site(node, ast.Pass(), "statement removed")
            if type(node.op) in _ARITHMETIC:
                other = copy.copy(node)
                other.op = _ARITHMETIC[type(node.op)]()
                yield _Site(node, other, "operator")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield _Site(node, ast.Pass(), "statement removed")
        case ast.Delete() | ast.Continue():
            yield _Site(node, ast.Pass(), "statement removed")
        case ast.Break():
            yield _Site(node, ast.Continue(), "break")
        case ast.Return(value=value) if value is not None and not _is_none(value):
            if isinstance(value, ast.Constant) and isinstance(value.value, bool):
                pass  # as a constant, below
            else:
                yield _Site(node, ast.Return(ast.Constant(None)), "return value")
        case ast.If() | ast.While():
            negated = copy.copy(node)
            negated.test = ast.UnaryOp(ast.Not(), node.test)
            yield _Site(node.test, negated.test, "condition negated")
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _in_statement(child)
        elif isinstance(child, ast.expr) and child is not getattr(node, "annotation", None):
            yield from _in_expression(child)
        elif isinstance(child, ast.ExceptHandler | ast.match_case | ast.withitem):
            yield from _in_part(child)


def _in_part(node: ast.AST) -> Iterator[_Site]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _in_statement(child)
        elif isinstance(child, ast.expr) and not isinstance(node, ast.ExceptHandler):
            yield from _in_expression(child)


def _in_expression(node: ast.expr) -> Iterator[_Site]:
    match node:
        case ast.JoinedStr():
            return
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            other = copy.copy(node)
            other.ops = [_COMPARISONS[type(op)]()]
            yield _Site(node, other, "comparison")
        case ast.BoolOp():
            swapped = ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
            yield _Site(node, swapped, "boolean")
        case ast.UnaryOp(op=ast.Not()):
            yield _Site(node, node.operand, "not removed")
        case ast.IfExp():
            negated = ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
            yield _Site(node, negated, "condition negated")
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            yield _Site(node, ast.BinOp(node.left, _ARITHMETIC[type(op)](), node.right), "operator")
        case ast.Constant(value=bool() as value):
            yield _Site(node, ast.Constant(not value), "constant")
        case ast.Constant(value=int() as number):
            yield _Site(node, ast.Constant(number + 1), "constant")
            yield _Site(node, ast.Constant(number - 1), "constant")
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _in_expression(child)
        elif isinstance(child, ast.comprehension):
            for condition in child.ifs:
                yield _Site(condition, ast.UnaryOp(ast.Not(), condition), "condition negated")
            yield from _in_part(child)
        elif isinstance(child, ast.keyword):
            yield from _in_expression(child.value)


def _with(function: _Function, site: _Site) -> _Function:
    """A copy of the function with the replacement."""
    memo: dict[int, object] = {}
    copied = copy.deepcopy(function, memo)
    target = memo[id(site.node)]
    replacement = ast.copy_location(copy.deepcopy(site.replacement), site.node)
    _Replacing(target, replacement).visit(copied)
    return copied


class _Replacing(ast.NodeTransformer):
    def __init__(self, target: object, replacement: ast.AST) -> None:
        self._target = target
        self._replacement = replacement

    def visit(self, node: ast.AST) -> ast.AST:
        return self._replacement if node is self._target else super().visit(node)


def _yields(node: ast.AST) -> bool:
    """A function without its only ``yield`` would be another kind of function."""
    return any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _short(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 90 else line[:87] + "..."
