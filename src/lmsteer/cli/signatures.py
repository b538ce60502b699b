"""Parameters of the classes and functions that configurations name, with their types."""

import ast
import builtins
import inspect
import sys
import typing
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.utils import get_object

ANY_NAME = "**"
"""Stands for further parameters of any name."""


def parameters(target: str) -> dict[str, Any]:
    """Return the names and types of the parameters of a class or function.

    Raises:
        ImportError, ValueError, AttributeError: If there is no such class or function.
    """
    function = get_object(target)
    signature = inspect.signature(function).parameters
    constructor = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(constructor, localns=_Names(getattr(constructor, "__globals__", {})))
    variable = {ANY_NAME: Any} if any(p.kind is p.VAR_KEYWORD for p in signature.values()) else {}
    named = [name for name, p in signature.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {name: hints.get(name, Any) for name in named} | variable


def parameters_without_import(target: str) -> dict[str, Any] | None:
    """Return the same from the source file, as an import may take seconds; types from other modules become ``Any``.

    Returns:
        The parameters; None for a target that is imported already or not found in this way.
    """
    module, _, name = target.rpartition(".")
    if module in sys.modules or not module:
        return None
    path = _source_file(module)
    if path is None:
        return None
    function, fields = _definition(_parse(path), name), _dataclass_fields(module, name)
    if fields:
        return fields
    if function is None:
        source = _imported_from(name, module)
        return parameters_without_import(f"{source}.{name}") if source else None
    arguments = [*function.args.args, *function.args.kwonlyargs]
    variable = {ANY_NAME: Any} if function.args.kwarg else {}
    return {a.arg: _evaluate(a.annotation, module) for a in arguments if a.arg != "self"} | variable


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _source_file(module: str) -> Path | None:
    """Return the file of a module, of which at most the outermost package is imported."""
    package, *rest = module.split(".")
    spec = find_spec(package)
    if spec is None or not spec.origin:
        return None
    stem = Path(spec.origin).parent.joinpath(*rest)
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _definition(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    """Return the definition of a function, or the constructor of a class."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.ClassDef) and node.name == name:
            methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
            return next((method for method in methods if method.name == "__init__"), None)
    return None


def _dataclass_fields(module: str, name: str) -> dict[str, Any]:
    """Return the types of the fields of a dataclass, those of its base classes first; empty for any other class."""
    path = _source_file(module)
    for node in _parse(path).body if path else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            if not any(ast.unparse(decorator).startswith("dataclass") for decorator in node.decorator_list):
                return {}
            bases = (base.id for base in node.bases if isinstance(base, ast.Name))
            inherited = {field: kind for base in bases for field, kind in _dataclass_fields(module, base).items()}
            annotated = (item for item in node.body if isinstance(item, ast.AnnAssign))
            fields = [item for item in annotated if not ast.unparse(item.annotation).startswith("ClassVar")]
            return inherited | {ast.unparse(item.target): _evaluate(item.annotation, module) for item in fields}
    source = _imported_from(name, module)
    return _dataclass_fields(source, name) if source else {}


def _imported_from(name: str, module: str) -> str | None:
    """Return the module from which another one imports a name."""
    path = _source_file(module)
    for node in ast.walk(_parse(path)) if path else ():
        if isinstance(node, ast.ImportFrom) and name in (alias.name for alias in node.names):
            levels = node.level - (path is not None and path.name == "__init__.py")
            parents = module.split(".")[: -levels or None] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            return source if source != module else None
    return None


def _evaluate(annotation: ast.expr | None, module: str) -> Any:
    """Return the type that an annotation in a module stands for; ``Any`` if that needs an import."""
    if annotation is None:
        return Any
    names = {node.id: _named_type(node.id, module) for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    try:
        return eval(ast.unparse(annotation), names)  # the source of an installed module
    except (NameError, TypeError, AttributeError):
        return Any


def _named_type(name: str, module: str) -> Any:
    """Return what a name in a module stands for; a class stands for any object."""
    if hasattr(builtins, name) or hasattr(typing, name):
        return getattr(builtins, name, None) or getattr(typing, name)
    path = _source_file(module)
    for node in _parse(path).body if path else ():
        if isinstance(node, ast.Assign) and name in (t.id for t in node.targets if isinstance(t, ast.Name)):
            return _evaluate(node.value, module)
    source = _imported_from(name, module)
    return _named_type(name, source) if source else _Object


class _Names(dict[str, Any]):
    """Names of a module, for its annotations; a class that is imported only for the type checker stands for objects."""

    def __missing__(self, name: str) -> Any:
        return vars(builtins).get(name, _Object)


class _Object:
    """Any object that is built from a configuration; no plain value is one."""
