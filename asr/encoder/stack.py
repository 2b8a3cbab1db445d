"""The base class of encoders: the loop over layers, which passes the carry from layer to layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from asr.encoder.pooling import Pooling, merged
from asr.errors import InputError
from asr.nn.chunks import Blocks, ChunkContext, DynamicChunks
from asr.nn.convolution import ConvolutionModule
from asr.nn.dropout import Dropout
from asr.nn.frames import Frames, padding_mask
from asr.nn.position_kinds import position_class
from asr.nn.positions import PositionKind, Positions
from asr.nn.subsampling import ConvSubsampling, SubsamplingKind
from asr.nn.valid_batch_norm import statistics_kept
from asr.ranges import Range, check_value
from asr.reuse.base import AttentionCarry, AttentionParts, LayerAttention, ReuseMethod
from asr.reuse.schedule import Role, Schedule
from asr.types import EncoderOutput, LayerOutput

Checkpointing = Literal["none", "layers", "groups"]
Result = TypeVar("Result")


def checkpoint_segments(schedule: Schedule, checkpointing: Checkpointing) -> list[range]:
    """Return the groups of layers whose activations are recomputed together.

    With ``none`` there is one group of all layers. With ``groups`` a group is a leader with its
    followers, or a single layer.
    """
    starts = [
        role.layer
        for role in schedule
        if role.layer == 0
        or checkpointing == "layers"
        or (checkpointing == "groups" and role.role is not Role.FOLLOW)
    ]
    stops = [*starts[1:], len(schedule)]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def run_twice(module: nn.Module, function: Callable[[], Result]) -> Result:
    """Return the result of ``function``, which runs ``module``; backward runs it a second time.

    The second run draws the same random numbers and does not change running statistics.
    """
    result: Result = checkpoint(
        function,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), statistics_kept(module)),
    )
    return result


MAX_MAP_MIB = 192.0
"""Holds a whole map of four heads in float32 up to 140 s of audio at 25 frames a second."""


class ScheduleRow(NamedTuple):
    """A row of the resolved schedule, as printed and stored in the run record."""

    layer: int
    role: str
    leader: int | None
    heads_reused: int
    parameters_saved: int
    method: str


class Passage(NamedTuple):
    """The input of a layer: frames (B, T, D), their masks and positions, and the carry."""

    x_BTD: Tensor
    frames: Frames
    carry: AttentionCarry | None = None


class Encoder(nn.Module):
    """Subsampling and a stack of layers, each with the attention that its role needs.

    ``make_layer`` builds one layer around an attention module. ``max_map_mib`` limits the maps or
    scores that a layer and its leader store in inference, None for no limit; rows that do not fit
    are recomputed when needed. ``checkpointing`` sets which activations are recomputed in training,
    and may be changed at any time. Subsampling and the lowest layers run without autograd if their
    parameters are frozen. ``chunks`` draws for every training batch how far its frames see; None
    lets all frames see all. ``pool_after`` are numbers of layers after which frames are merged
    (`asr.encoder.pooling`).

    Raises:
        InputError: dimensions that do not fit, ``chunks`` with a method or a pooling that needs
            all frames, or a pooling that the schedule does not allow.
    """

    num_rows = 1
    """Rows of a batch that an utterance is to the layers."""

    def __init__(
        self,
        *,
        reuse: ReuseMethod,
        make_layer: Callable[[LayerAttention], nn.Module],
        num_mel_bins: int,
        num_layers: int,
        d_model: int,
        num_heads: int,
        positions: PositionKind,
        subsampling: SubsamplingKind,
        subsampling_channels: int,
        dropout: float,
        max_map_mib: float | None,
        final_norm: bool,
        chunks: DynamicChunks | None = None,
        pool_after: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if d_model % num_heads or (d_model // num_heads) % 2:
            raise InputError(
                f"encoder.num_heads={num_heads} must divide encoder.d_model={d_model} "
                "into heads of even width"
            )
        self.d_model = d_model
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.num_mel_bins = num_mel_bins
        self.checkpointing: Checkpointing = "none"
        self.reuse = reuse
        self.schedule = reuse.schedule(num_layers)
        self.pooling = Pooling.in_schedule(pool_after, self.schedule)
        self.subsampling = ConvSubsampling(
            kind=subsampling,
            num_mel_bins=num_mel_bins,
            channels=subsampling_channels,
            d_model=d_model,
        )
        self.positions = position_class(positions)
        self.dropout = Dropout(dropout)
        self.parts = AttentionParts(
            d_model=d_model,
            num_heads=num_heads,
            positions=positions,
            dropout=dropout,
            max_map_mib=max_map_mib,
        )
        self.layers = nn.ModuleList(
            make_layer(reuse.attention(layer, self.parts)) for layer in self.schedule
        )
        self.norm = nn.LayerNorm(d_model) if final_norm else nn.Identity()
        self.chunks = chunks
        if chunks is not None:
            self.check_chunks()

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        intermediate_layers: Collection[int] = (),
        context: ChunkContext | None = None,
    ) -> EncoderOutput:
        """Encode features of given lengths to frames at 1 / ``subsampling_factor`` of the rate.

        Frames have the dtype of the weights, not of the features; under autocast the residual
        stream keeps it. ``intermediate_layers`` lists the layers (counted from 0) whose output is
        also returned. ``context`` is how far frames see; None draws from ``chunks`` in training,
        and lets all frames see all in inference.
        """
        if context is None and self.training and self.chunks is not None:
            context = self.chunks.draw()
        takes_gradient = torch.is_grad_enabled()
        depth = 0
        if takes_gradient and not features_BTF.requires_grad and not is_trained(self.subsampling):
            depth = self.num_frozen_layers()
            takes_gradient = False
        with torch.set_grad_enabled(takes_gradient):
            x_BTD, lengths_B = self.embed(features_BTF, lengths_B)
            blocks = None if context is None else self.blocks(context, x_BTD, lengths_B)
            x_BTD = x_BTD if blocks is None else blocks.cut(x_BTD)
            passage = Passage(x_BTD, self.frames(x_BTD, lengths_B, blocks))
            passage, outputs = self.run_layers(range(depth), passage, intermediate_layers)
        checkpointing = self.checkpointing if self.training and torch.is_grad_enabled() else "none"
        for segment in checkpoint_segments(self.schedule, checkpointing):
            layers = range(max(depth, segment.start), segment.stop)
            run = partial(self.run_layers, layers, passage, intermediate_layers)
            passage, found = run() if checkpointing == "none" else run_twice(self.layers, run)
            outputs |= found
        outputs[self.num_layers] = passage.x_BTD
        if blocks is not None:
            outputs = {layer: blocks.joined(x_EWD) for layer, x_EWD in outputs.items()}
        *intermediate, last = (
            LayerOutput(self.norm(x_BTD), self.pooling.below(layer + 1).num_frames(lengths_B))
            for layer, x_BTD in outputs.items()
        )
        return EncoderOutput(*last, tuple(intermediate))

    def num_frozen_layers(self) -> int:
        """Return the number of bottom layers that need no gradient.

        Their input must need none either. The first layer above them is trained, or leads a layer
        above it.
        """
        depth = next(
            (index for index, layer in enumerate(self.layers) if is_trained(layer)),
            self.num_layers,
        )
        for role in reversed(tuple(self.schedule)):
            if role.layer >= depth and role.leader is not None:
                depth = min(depth, role.leader)
        return depth

    def run_layers(
        self, layers: range, passage: Passage, intermediate_layers: Collection[int] = ()
    ) -> tuple[Passage, dict[int, Tensor]]:
        """Run some layers; return the last one's passage and the requested outputs by layer.

        Intermediate outputs are not normalised.
        """
        x_BTD, frames, carry = passage
        outputs = {}
        for index in layers:
            layer = self.schedule[index]
            if index in self.pooling.after:
                x_BTD, mask = merged(x_BTD, frames.padding_mask)
                frames = Frames(mask, self.position_table(x_BTD.shape[1], x_BTD))
            if layer.begins_part or layer.role is Role.LEAD:
                carry = None  # frees the old map before a leader computes one as large
            x_BTD, carry = self.layers[index](x_BTD, frames, carry)
            if index in intermediate_layers:
                outputs[index] = x_BTD
        return Passage(x_BTD, frames, carry), outputs

    @property
    def subsampling_factor(self) -> int:
        """Number of feature frames per output frame."""
        return int(self.subsampling.factor) * self.pooling.factor

    def exit_at(self, num_layers: int) -> None:
        """Drop the layers after the first ``num_layers``; the others compute as before.

        A leader passes on to the remaining followers.

        Raises:
            InputError: the encoder has fewer layers.
        """
        check_value(num_layers, Annotated[int, Range(1, self.num_layers)], "exit")
        self.num_layers = num_layers
        self.schedule = self.schedule[:num_layers]
        self.layers = self.layers[:num_layers]
        self.pooling = self.pooling.below(num_layers)

    def prepare(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Frames]:
        """Return the input (B, T, D) of the first layer, its lengths, and masks and positions."""
        x_BTD, lengths_B = self.embed(features_BTF, lengths_B)
        return x_BTD, lengths_B, self.frames(x_BTD, lengths_B)

    def embed(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input (B, T, D) of the first layer, and its lengths."""
        dtype = self.dtype
        x_BTD, lengths_B = self.subsampling(features_BTF.to(dtype), lengths_B)
        return self.dropout(x_BTD.to(dtype)), lengths_B

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of frames: that of the weights, or float32 for 8-bit weights."""
        return next(self.parameters()).dtype

    def frames(self, x_BTD: Tensor, lengths_B: Tensor, blocks: Blocks | None = None) -> Frames:
        """Return masks and positions for the layers' input, whole or cut into ``blocks``."""
        num_seen = x_BTD.shape[1] if blocks is None else blocks.context.seen_frames
        mask = padding_mask(lengths_B, num_seen) if blocks is None else blocks.padding_mask
        return Frames(mask, self.position_table(num_seen, x_BTD), blocks)

    def position_table(self, num_frames: int, like: Tensor) -> Tensor | None:
        """Return what the position encoding computes once for ``num_frames`` frames."""
        return self.positions.table(num_frames, self.d_model, self.num_heads, like)

    def blocks(self, context: ChunkContext, x_BTD: Tensor, lengths_B: Tensor) -> Blocks:
        """Return the blocks into which the frames are cut.

        Raises:
            InputError: see `check_chunks`.
        """
        self.check_chunks()
        return Blocks(context, lengths_B, x_BTD.shape[1])

    def check_chunks(self) -> None:
        """Raise InputError if a layer cannot attend in chunks, or if frames are merged."""
        self.pooling.check_absent()
        for row, layer in zip(self.schedule, self.layers, strict=True):
            if not layer.get_submodule("attention").works_in_chunks:
                raise InputError(
                    f"reuse={row.method or self.reuse.name} attends over whole utterances and "
                    "neither streams nor trains with encoder.chunk_frames; allowed: none, probs, "
                    "band, top_k, heads, scores, kv, context, within, few_heads, absent"
                )

    def keep_between_calls(self) -> None:
        """Keep between calls what only weights and lengths determine, until `train` is called.

        This is for inference: the weights must not change any more.
        """
        for module in self.modules():
            if isinstance(module, Positions | ConvolutionModule):
                module.keep_between_calls()

    def schedule_rows(self) -> list[ScheduleRow]:
        """Return the resolved schedule, with the parameters that each layer saves by reuse.

        The number is negative for a leader that holds parameters for its followers.
        """
        with torch.device("meta"):
            alone = [self.parts.scores(), self.parts.mix(), nn.LayerNorm(self.d_model)]
        full = sum(map(num_parameters, alone))
        return [
            ScheduleRow(
                layer=role.layer,
                role=role.role.value,
                leader=role.leader,
                heads_reused=self.reuse.heads_reused(role, self.num_heads),
                parameters_saved=full
                - num_parameters(layer.get_submodule("attention"))
                - num_parameters(layer.get_submodule("attention_norm")),
                method=role.method or self.reuse.name,
            )
            for role, layer in zip(self.schedule, self.layers, strict=True)
        ]


def is_trained(module: nn.Module) -> bool:
    """Return whether a parameter of ``module`` requires a gradient."""
    return any(parameter.requires_grad for parameter in module.parameters())


def num_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
