"""Steps within the source of the bus, the same on every version of Python.

The functions of modules are compiled anew with a call after each expression and statement. So the steps
depend neither on the layout of bytecode nor on tracing, which some versions of Python do not do for every step.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import itertools
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from encore_events import buffer, delivering, drops, gates, manager, signals, stream

T = TypeVar("T")

STREAMS = (stream, buffer, drops, gates)
REGISTRY = (manager, delivering, signals)
EXPRESSIONS = (
    ast.Attribute,
    ast.Await,
    ast.BinOp,
    ast.Call,
    ast.Compare,
    ast.Dict,
    ast.List,
    ast.ListComp,
    ast.Subscript,
    ast.Tuple,
    ast.UnaryOp,
)

Hook = Callable[[bool], object]
"""Called at each step of a thread; the argument is true where the interpreter handles signals."""


class Here(threading.local):
    """The hooks of the calling thread.

    Attributes:
        at_step: called at each step.
        at_lock: called while another thread holds a stream's lock.
    """

    at_step: Hook | None = None
    at_lock: Callable[[], object] | None = None


here = Here()


class SteppedLock:
    """A reentrant lock at which a waiting thread calls its hook, so that another thread may run."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        while not self._lock.acquire(blocking=here.at_lock is None):
            cast("Callable[[], object]", here.at_lock)()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


@contextlib.contextmanager
def stepped(modules: Sequence[types.ModuleType]) -> Iterator[None]:
    """Let each step in the modules call the hook of its thread, during the block."""
    before = {function: function.__code__ for module in modules for function in functions_of(module)}
    for module in modules:
        codes = stepped_codes(module)
        for function in functions_of(module):
            function.__code__ = codes[key_of(function.__code__)]
        vars(module).update(_step=step, _called=called)
    vars(buffer)["threading"] = types.SimpleNamespace(RLock=SteppedLock)
    try:
        yield
    finally:
        vars(buffer)["threading"] = threading
        for function, code in before.items():
            function.__code__ = code


def step(value: T = None) -> T:  # type: ignore[assignment]
    """Call the hook of this thread, and return the value of the expression before this step."""
    if here.at_step is not None:
        here.at_step(False)
    return value


def called(value: T = None) -> T:  # type: ignore[assignment]
    """Do the same where the interpreter handles signals: after a call, and where a function or a loop begins."""
    if here.at_step is not None:
        here.at_step(True)
    return value


def functions_of(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """Yield the functions and methods that the module defines."""
    values = list(vars(module).values())
    members = [member for value in values if isinstance(value, type) for member in vars(value).values()]
    accessors = [each for member in members if isinstance(member, property) for each in (member.fget, member.fset)]
    for function in map(inspect.unwrap, [*values, *members, *accessors]):
        if isinstance(function, types.FunctionType) and function.__code__.co_filename == module.__file__:
            yield function


@functools.cache
def stepped_codes(module: types.ModuleType) -> dict[tuple[str, int], types.CodeType]:
    """Return the code of each function of the module, with steps."""
    path = Path(cast("str", module.__file__))
    tree = ast.fix_missing_locations(Stepping().visit(ast.parse(path.read_text())))
    codes: dict[tuple[str, int], types.CodeType] = {}
    waiting = [compile(tree, path, "exec")]
    while waiting:
        for constant in waiting.pop().co_consts:
            if isinstance(constant, types.CodeType):
                codes[key_of(constant)] = constant
                waiting.append(constant)
    return codes


def key_of(code: types.CodeType) -> tuple[str, int]:
    """Return the name and the line of a function; the functions of a property differ only in their lines."""
    return code.co_qualname, code.co_firstlineno


class Stepping(ast.NodeTransformer):
    """Adds steps to functions, and to nothing else."""

    _in_function = False

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Add steps after an expression, or between the statements of a block."""
        super().generic_visit(node)
        if not self._in_function:
            return node
        for name in ("body", "orelse", "finalbody"):
            if isinstance(block := getattr(node, name, None), list):
                setattr(node, name, [*itertools.chain.from_iterable(map(with_step, block))])
        if isinstance(node, ast.For | ast.While):
            node.body.append(statement("_called"))
        is_value = isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        if isinstance(node, EXPRESSIONS) and is_value:
            return call("_called" if isinstance(node, ast.Call | ast.Await) else "_step", node)
        return node

    def visit_FunctionDef(self, node: Any) -> ast.AST:
        """Add steps to the body alone: decorators and annotations belong to the module."""
        before, self._in_function = self._in_function, True
        block = [self.visit(each) for each in node.body]
        self._in_function = before
        node.body = [statement("_called"), *itertools.chain.from_iterable(map(with_step, block))]
        return cast("ast.AST", node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 (the name that the base class looks up)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """Leave the annotation alone."""
        node.value = self.visit(node.value) if node.value else None
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Add steps between reading and writing."""
        target = ast.parse(ast.unparse(node.target), mode="eval").body
        return cast("ast.AST", self.visit(ast.Assign([node.target], ast.BinOp(target, node.op, node.value))))

    def visit_Continue(self, node: ast.Continue) -> Any:
        """Add the step at which the loop begins again."""
        return [statement("_called"), node]


def with_step(node: ast.stmt) -> list[ast.stmt]:
    """Return the statement with a step after it, unless it leaves the block."""
    if isinstance(node, ast.Return | ast.Raise | ast.Break | ast.Continue):
        return [node]
    return [node, statement("_called" if isinstance(node, ast.With) else "_step")]


def statement(name: str) -> ast.stmt:
    """Return a statement that is a step."""
    return ast.Expr(ast.Call(ast.Name(name, ast.Load()), [], []))


def call(name: str, value: ast.expr) -> ast.expr:
    """Return an expression that evaluates `value`, and is a step."""
    return ast.Call(ast.Name(name, ast.Load()), [value], [])
