"""Position encodings for attention over groups of frames and over pools of keys."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from asr.nn.frames import fill_up, num_spans
from asr.nn.positions import Keys
from asr.nn.relative import BiasedQueries, RelativePositions, falling_sinusoids
from asr.nn.rotary import RotaryPositions, rotate, rotations
from asr.profiling.attention_steps import fused, projecting


class GroupedRelativePositions(RelativePositions):
    """Relative positions by the distance between the first frames of two groups.

    ``head_dim`` is the width of a head for a whole group.
    """

    def __init__(
        self, *, d_model: int, num_heads: int, head_dim: int, frames_per_group: int
    ) -> None:
        super().__init__(d_model=d_model, num_heads=num_heads, head_dim=head_dim)
        self.frames_per_group = frames_per_group

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Return keys (B, H, G, K) of groups with their projected distances (H, K, 2G - 1).

        ``table`` holds the distances of frames, of which every ``frames_per_group``-th is a
        distance of groups.
        """
        assert table is not None
        if torch.compiler.is_exporting():
            size, num_groups = self.frames_per_group, k_BHTK.shape[2]
            return super().keys(
                k_BHTK,
                falling_sinusoids(
                    (num_groups - 1) * size, size, 2 * num_groups - 1, table.shape[1], table
                ),
            )
        first = len(table) // 2 % self.frames_per_group
        return super().keys(k_BHTK, table[first :: self.frames_per_group])


class GroupedRotaryPositions(RotaryPositions):
    """Rotary positions counted in groups."""

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Return the rotated keys (B, H, G, K) of groups; ``table`` is that of frames."""
        assert table is not None
        num_groups, head_dim = k_BHTK.shape[2:]
        return super().keys(k_BHTK, self.table(num_groups, head_dim, 1, table))


class PooledRelativePositions(RelativePositions):
    """Relative positions by the distance from a query's frame to the middle frame of a pool.

    The rows i = a * N + n with the same residue n see the distances (a - j) * N + n - middle: those
    of S rows and S keys, in steps of N. N adjacent frames side by side, (B, S, N * D), hold N * H
    heads, grouped by residue. With keys and values repeated for each residue, the whole is
    attention of these heads over S x S.
    """

    def __init__(self, *, d_model: int, num_heads: int, head_dim: int, pool_size: int) -> None:
        super().__init__(d_model=d_model, num_heads=num_heads, head_dim=head_dim)
        self.pool_size = pool_size

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Return keys (B, H, S, K) of pools with the projected distances (N * H, K, 2S - 1)."""
        assert table is not None
        num_pools, size = k_BHTK.shape[2], self.pool_size
        furthest = num_pools * size - 1 - middle_of(size)
        num_distances = (2 * num_pools - 1) * size
        if torch.compiler.is_exporting():
            table_PD = falling_sinusoids(furthest, 1, num_distances, table.shape[1], table)
        else:
            table_PD = table_of(range(furthest, furthest - num_distances, -1), table)
        # The largest of N neighbouring distances belongs to the last residue.
        r_PNHK = self.position(table_PD).view(-1, size, self.num_heads, k_BHTK.shape[3]).flip(1)
        return Keys(k_BHTK, r_PNHK.flatten(1, 2).permute(1, 2, 0))

    def scores(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Return the scaled scores (B, H, T, S) before masking and softmax."""
        return self._by_frame(super().scores(q_BHTK, self._for_each_residue(keys)), q_BHTK)

    def score_tiles(self, q_BHTK: Tensor, keys: Keys) -> Iterator[Tensor]:
        """Yield the scaled scores (B, H, R, S), one tile of rows at a time."""
        num_done = 0
        for scores_BHSS in super().score_tiles(q_BHTK, self._for_each_residue(keys)):
            tile_BHRS = self._by_frame(scores_BHSS, q_BHTK[:, :, num_done:])
            num_done += tile_BHRS.shape[2]
            yield tile_BHRS

    @fused
    def attend(
        self,
        q_BHTK: Tensor,
        keys: Keys,
        v_BHTK: Tensor,
        padding_mask: Tensor | None,
        dropout: float,
        *,
        reach: int | None = None,
    ) -> Tensor:
        """Return the context (B, H, T, K) of values (B, H, S, K).

        ``padding_mask`` (B, S) is that of the pools.
        """
        assert reach is None, "a window over pools has no use yet"
        context_BHSK = super().attend(
            q_BHTK,
            self._for_each_residue(keys),
            v_BHTK.repeat(1, self.pool_size, 1, 1),
            padding_mask,
            dropout,
        )
        return self._by_frame(context_BHSK, q_BHTK)

    def biased(self, q_BHTK: Tensor) -> BiasedQueries:
        """Return queries (B, N * H, S, K), with the frames arranged by residue, and biases."""
        q_BHTK, *biases_HK = super().biased(q_BHTK)
        repeated = (bias_HK.repeat(self.pool_size, 1) for bias_HK in biases_HK)
        return BiasedQueries(self._by_residue(q_BHTK), *repeated)

    @projecting
    def _for_each_residue(self, keys: Keys) -> Keys:
        return Keys(keys.k_BHTK.repeat(1, self.pool_size, 1, 1), keys.positions)

    def _by_residue(self, x_BHTK: Tensor) -> Tensor:
        """Convert (B, H, T, K) to (B, N * H, S, K); copies no projections if N divides T."""
        batch, num_heads, num_frames, width = x_BHTK.shape
        num_pools = num_spans(num_frames, self.pool_size)
        x_BTHK = x_BHTK.transpose(1, 2)
        x_BTHK = fill_up(x_BTHK, self.pool_size)
        return x_BTHK.reshape(batch, num_pools, self.pool_size * num_heads, width).transpose(1, 2)

    def _by_frame(self, x_BHSK: Tensor, like_BHTK: Tensor) -> Tensor:
        """Convert (B, N * H, S, K) to (B, H, T, K), with no more frames than ``like`` has."""
        batch, num_heads, num_frames, _ = like_BHTK.shape
        x_BTHK = x_BHSK.transpose(1, 2).reshape(batch, -1, num_heads, x_BHSK.shape[3])
        return x_BTHK[:, :num_frames].transpose(1, 2)


class PooledRotaryPositions(RotaryPositions):
    """Rotary positions whose keys have the time of the middle frame of their pool."""

    def __init__(self, *, pool_size: int) -> None:
        super().__init__()
        self.pool_size = pool_size

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Return the rotated keys (B, H, S, K) of pools; ``table`` is that of the queries."""
        num_pools, head_dim = k_BHTK.shape[2:]
        assert table is not None
        first = middle_of(self.pool_size)
        times = rotations(num_pools, head_dim, table, first=first, step=self.pool_size)
        return Keys(rotate(k_BHTK, times), table)


def middle_of(pool_size: int) -> int:
    """Return the index of the middle frame of a pool."""
    return (pool_size - 1) // 2


def table_of(distance_P: range, table_PD: Tensor) -> Tensor:
    """Return sinusoids of falling distances: the shared table, extended beyond its ends."""
    furthest, d_model = len(table_PD) // 2, table_PD.shape[1]
    above = sinusoids(range(distance_P.start, furthest, -1), d_model, table_PD)
    below = sinusoids(range(-furthest - 1, distance_P.stop, -1), d_model, table_PD)
    first, last = furthest - distance_P.start, furthest - distance_P.stop
    return torch.cat([above, table_PD[max(0, first) : last], below])


def sinusoids(distance_P: range, d_model: int, like: Tensor) -> Tensor:
    """Return (P, D) interleaved sines and cosines of the distances, like ``like``."""
    return falling_sinusoids(distance_P.start, -distance_P.step, len(distance_P), d_model, like)
