"""Which head stands in for which: the assignment of greatest total similarity.

Shape legend: R rows, C columns.
"""

from __future__ import annotations

import networkx
from torch import Tensor


def best_assignment(similarity_RC: Tensor) -> list[int]:
    """For every row a column of its own, so that the entries chosen add up to the most.

    Exact: a matching of greatest weight (Edmonds 1965, in networkx) between rows and columns, of
    which there are at least as many.
    """
    num_rows, num_columns = similarity_RC.shape
    assert num_rows <= num_columns
    graph = networkx.Graph()
    for row, values in enumerate(similarity_RC.tolist()):
        for column, value in enumerate(values):
            graph.add_edge(row, num_rows + column, weight=value)
    pairs = map(sorted, networkx.max_weight_matching(graph, maxcardinality=True))
    column_of = {row: column - num_rows for row, column in pairs}
    return [column_of[row] for row in range(num_rows)]
