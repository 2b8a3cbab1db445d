"""Plugins: packages of the user's whose classes a config may name once the user has named them.

Nothing is imported automatically. A recipe names plugins (``plugins: [my_package]``). A model
package trained with plugins lists them in its config, and loads only if the same names are given:
``--plugin my_package``, or ``plugins=["my_package"]`` in Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from asr.errors import InputError
from asr.ranges import shown

PLUGINS = "plugins"
"""Key of a recipe and of a package's config."""
_NAMED: ContextVar[frozenset[str]] = ContextVar("plugins", default=frozenset())
_OURS = "asr"


@contextmanager
def named(names: Sequence[str]) -> Iterator[None]:
    """Let configs name classes of these packages, and of those `allow` adds, in the block.

    Raises:
        InputError: a value is not the name of a package.
    """
    token = _NAMED.set(_NAMED.get() | set(check_names(names, "--plugin")))
    try:
        yield
    finally:
        _NAMED.reset(token)


def allow(names: object) -> None:
    """Add the names a recipe lists under ``plugins``, until the block of `named` ends.

    Raises:
        InputError: not a list of names of packages.
    """
    _NAMED.set(_NAMED.get() | set(check_names(names, PLUGINS)))


def check_names(names: object, key: str) -> list[str]:
    """Return the names of packages in ``names``; None means none.

    Raises:
        InputError: anything else.
    """
    listed = [] if names is None else [names] if isinstance(names, str) else names
    if not isinstance(listed, list | tuple):
        raise InputError(f"{key}={shown(names)}: allowed: a list of names of packages")
    for name in listed:
        is_name = isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
        if not is_name or name.partition(".")[0] == _OURS:
            raise InputError(f"{key}={shown(name)}: allowed: names of packages, as in `import`")
    return list(listed)


def check_package(config: Mapping[str, Any], where: object) -> None:
    """Raise InputError if the config of a model package needs a plugin that was not named."""
    missing = [
        name
        for name in check_names(config.get(PLUGINS), f"{where}: {PLUGINS}")
        if name not in _NAMED.get()
    ]
    if missing:
        options = " ".join(f"--plugin {name}" for name in missing)
        raise InputError(
            f"{where}: needs the plugin {', '.join(missing)}, whose code would run; if you trust "
            f"it, name it: {options} (in a recipe plugins: [{', '.join(missing)}])"
        )


def plugin_of(module: str) -> str | None:
    """Return the named plugin that ``module`` is or belongs to."""
    return next((name for name in _NAMED.get() if f"{module}.".startswith(f"{name}.")), None)


def plugin_class(path: str, plugin: str, key: str) -> type:
    """Import and return the class ``path`` of a named plugin.

    Raises:
        InputError: no such module or class, or a class that the plugin only imports.
    """
    module_name, _, class_name = path.rpartition(".")
    try:
        target = getattr(import_module(module_name), class_name)
    except ImportError as error:
        raise InputError(
            f"{key}: the plugin {plugin} cannot be imported ({error}); install it, or name the "
            "folder that holds it in PYTHONPATH"
        ) from error
    except AttributeError:
        raise InputError(f"{key}={path}: {module_name} has no {class_name}") from None
    if not (inspect.isclass(target) and plugin_of(target.__module__)):
        raise InputError(f"{key}={path}: not a class that the plugin {plugin} defines")
    return target
