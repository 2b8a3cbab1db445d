"""Building objects from plain config dictionaries; ``_target_`` names a class inside ``asr``.

A config is data: only classes of this package are built from it, and classes of plugins that the
user has named (`asr.model.plugins`). A stranger's model folder can therefore run no code of its
own.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, get_args, get_origin

import torch
from torch import nn

from asr.encoder.stack import Encoder
from asr.errors import InputError
from asr.features.fbank import LogMel
from asr.features.frontend import Frontend
from asr.head.base import Head
from asr.model.asr_model import AsrModel
from asr.model.plugins import plugin_class, plugin_of
from asr.nn import svd_softmax
from asr.nn.svd_softmax import SvdSoftmax
from asr.ranges import check_values, parameter_hints
from asr.reuse.base import ReuseMethod

TARGET = "_target_"
SVD_SOFTMAX = "svd_softmax"
"""Key of a package's config for decomposed output layers; other packages lack it."""
EXIT = "exit"
"""Key of a config for the number of layers after which a model ends."""
PACKAGES = {"metrics": "profiling"}
"""The package of a config group's classes, if it has another name than the group."""
MOVED = {
    "asr.features.speed.SpeedPerturb": "asr.features.augment.SpeedPerturb",
    "asr.features.silence.RandomSilence": "asr.features.augment.RandomSilence",
    "asr.features.noise.WhiteNoise": "asr.features.augment.WhiteNoise",
    "asr.data.noise.NoiseMix": "asr.data.augment.NoiseMix",
    "asr.data.reverb.Reverb": "asr.data.augment.Reverb",
    "asr.metrics.latency.LatencySpec": "asr.profiling.latency.LatencySpec",
    "asr.metrics.roofline.RooflineSpec": "asr.profiling.roofline.RooflineSpec",
    "asr.metrics.scaling.ScalingSpec": "asr.profiling.scaling.ScalingSpec",
    "asr.metrics.training_step.TrainingStepSpec": "asr.profiling.training_step.TrainingStepSpec",
}
"""Former paths of classes, as in model folders and records of earlier versions."""


def build(config: Mapping[str, Any], key: str, **injected: object) -> Any:
    """Build the object ``config[_target_]`` names, from the other keys and ``injected`` arguments.

    ``key`` is the place of the config (``encoder``, ``train.optim``), which errors name.

    Raises:
        InputError: no target, a target outside the package ``key`` begins with, an unknown key
            (with the nearest known one), a missing one, or a value of another type.
    """
    target = target_class(config, key)
    arguments = {name: value for name, value in config.items() if name != TARGET}
    return construct(target, arguments, key, **injected)


def construct(target: type, arguments: Mapping[str, Any], key: str, **injected: object) -> Any:
    """Build a ``target`` from the keys of its config, inner objects first, and ``injected``.

    Raises:
        InputError: see `build`.
    """
    known = [name for name in inspect.signature(target).parameters if name not in injected]
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {key}.{near[0]}? " if near else ""
            raise InputError(f"unknown key {key}.{name}: {hint}allowed: {', '.join(known)}")
    missing = [
        name
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.default is parameter.empty and name not in {*arguments, *injected}
    ]
    if missing:
        raise InputError(f"missing key {key}.{missing[0]}: {target.__name__} needs it")
    check_values(target, arguments, key)
    hints = parameter_hints(target)
    built = {
        name: build_inside(value, hints[name], f"{key}.{name}") for name, value in arguments.items()
    }
    return target(**built, **injected)


def build_inside(value: Any, hint: Any, key: str) -> Any:
    """Build every mapping in ``value`` for which the annotation ``hint`` asks for a class.

    A dataclass is built from its keys; for other classes ``_target_`` says which one to build. If
    no class is asked for, a ``_target_`` is a value like any other.

    Raises:
        InputError: see `build`; or not a mapping, or an object of another class.
    """
    if get_origin(hint) in (list, Sequence):
        (item_hint,) = get_args(hint)
        return [build_inside(item, item_hint, f"{key}[{i}]") for i, item in enumerate(value)]
    if not (inspect.isclass(hint) and hint.__module__.startswith("asr.")):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{key}={value!r}: allowed: a group of keys")
    if is_dataclass(hint):
        return construct(hint, value, key)
    try:
        built = build(value, key)
    except InputError as error:  # errors name keys as if the class stood alone in its group
        raise error if key in str(error) else error.moved(key.partition(".")[0], key) from None
    check_kind(built, hint, value, key)
    return built


def target_class(config: Mapping[str, Any], key: str) -> type:
    """Return the class that ``config[_target_]`` names.

    Raises:
        InputError: missing, outside ``asr`` and the named plugins, or not a class.
    """
    group = key.partition(".")[0]
    path = config.get(TARGET) if isinstance(config, Mapping) else None
    path = MOVED.get(path, path) if isinstance(path, str) else path
    if not isinstance(path, str) or "." not in path:
        raise InputError(f"config {key} has no {TARGET}; it names a class, as in configs/{group}/")
    module_name, _, class_name = path.rpartition(".")
    plugin = plugin_of(module_name)
    if plugin is not None:
        return plugin_class(path, plugin, f"{key}.{TARGET}")
    package = f"asr.{PACKAGES.get(group, group)}"
    if not module_name.startswith(f"{package}."):
        raise InputError(f"{key}.{TARGET}={path[:200]}: only classes inside {package} are built")
    try:
        target = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError):
        raise InputError(f"{key}.{TARGET}={path[:200]}: there is no such class") from None
    if not (inspect.isclass(target) and target.__module__.startswith(f"{package}.")):
        raise InputError(f"{key}.{TARGET}={path[:200]}: not a class of {package}")
    return target


def build_model(config: Mapping[str, Any], vocab_size: int) -> AsrModel:
    """Build the model of a run config from ``features``, ``encoder``, ``reuse`` and ``head``.

    Raises:
        InputError: see `build`.
    """
    check_groups(config, "features", "encoder", "reuse", "head")
    frontend = build_frontend(config)
    encoder = build_encoder(config, frontend.num_mel_bins)
    head = build_head(config, encoder.d_model, vocab_size)
    shape_outputs(head, config)
    return AsrModel(frontend=frontend, encoder=encoder, head=head)


def build_head(config: Mapping[str, Any], d_model: int, vocab_size: int) -> Head:
    """Build the head from the group ``head``."""
    head: Head = build(config["head"], "head", d_model=d_model, vocab_size=vocab_size)
    check_kind(head, Head, config["head"], "head")
    return head


def shape_outputs(model: nn.Module, config: Mapping[str, Any]) -> None:
    """Give a head or a language model the decomposed output layers that its package declares.

    Raises:
        InputError: see `build` and `asr.nn.svd_softmax`.
    """
    if config.get(SVD_SOFTMAX) is not None:
        spec: SvdSoftmax = build_inside(config[SVD_SOFTMAX], SvdSoftmax, SVD_SOFTMAX)
        svd_softmax.shape_decompositions(model, spec)


def check_kind(built: object, kind: type, config: Mapping[str, Any], key: str) -> None:
    """Raise InputError unless the object built from ``config`` is a ``kind``."""
    if not isinstance(built, kind):
        raise InputError(f"{key}.{TARGET}={config[TARGET]}: not a {kind.__name__}")


def check_groups(config: Mapping[str, Any], *groups: str) -> None:
    """Raise InputError for a group that is missing or holds no keys."""
    for group in groups:
        if not isinstance(config.get(group), Mapping):
            raise InputError(f"config {group}: missing, or not a group of keys")


def build_frontend(config: Mapping[str, Any]) -> Frontend:
    """Build the feature extraction from the group ``features``."""
    with torch.device("cpu"):  # its tables need values even if weights have none
        parts = {
            name: build(part, f"features.{name}")
            for name, part in config["features"].items()
            if part
        }
    known = list(inspect.signature(Frontend).parameters)
    unknown = set(parts) - set(known)
    if unknown or not isinstance(parts.get("fbank"), LogMel):
        raise InputError(
            f"features: {', '.join(parts)}; allowed: {', '.join(known)}, and fbank is needed"
        )
    return Frontend(**parts)


def build_encoder(config: Mapping[str, Any], num_mel_bins: int = 80) -> Encoder:
    """Build the encoder from ``encoder`` and ``reuse``, up to the key ``exit`` if it is set."""
    check_groups(config, "encoder", "reuse")
    reuse = build_inside(config["reuse"], ReuseMethod, "reuse")
    encoder: Encoder = build(config["encoder"], "encoder", reuse=reuse, num_mel_bins=num_mel_bins)
    check_kind(encoder, Encoder, config["encoder"], "encoder")
    if config.get(EXIT) is not None:
        encoder.exit_at(config[EXIT])
    return encoder
