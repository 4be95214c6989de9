"""Micro-batches without padding: rows end to end, and the rows of an optimizer step shared out evenly.

A padded micro-batch costs what its longest row costs, times its rows. Here a micro-batch costs its tokens, and the
micro-batches of a step get about the same number of tokens each, so that none of them sets the peak of memory alone.
The set of rows of a step, and so its loss and gradient, stays that of the sampler.

Notation: R rows, T tokens of all rows together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

IGNORED = -100


def join_rows(examples: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Collate rows end to end. Shapes: row_lengths [R]; input_ids, labels, position_ids [1, T]"""
    return _batch([(torch.tensor(example["input_ids"]), torch.tensor(example["labels"])) for example in examples])


def share_out(batches: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Share the rows of some micro-batches out anew, into as many of about equal tokens.

    The longest row left goes to the micro-batch with the fewest tokens; the result depends on nothing else.
    """
    rows = [row for batch in batches for row in _rows(batch)]
    shares: list[list[int]] = [[] for _ in batches]
    tokens = [0] * len(shares)
    for index in sorted(range(len(rows)), key=lambda index: -len(rows[index][0])):
        fewest = tokens.index(min(tokens))
        shares[fewest].append(index)
        tokens[fewest] += len(rows[index][0])
    return [_batch([rows[index] for index in sorted(share)]) for share in shares]


def _batch(rows: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    # the next-token loss of the whole line would ask a row's last token for the first of the next
    labels = [torch.cat([target.new_full((1,), IGNORED), target[1:]]) for _, target in rows]
    device = rows[0][0].device
    return {
        # first: the trainer weighs a micro-batch in its means by the length of the first tensor
        "row_lengths": torch.tensor([len(ids) for ids, _ in rows]),
        "input_ids": torch.cat([ids for ids, _ in rows])[None],
        "labels": torch.cat(labels)[None],
        "position_ids": torch.cat([torch.arange(len(ids), device=device) for ids, _ in rows])[None],
    }


def _rows(batch: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    lengths = batch["row_lengths"].tolist()
    ids, labels = (torch.split(batch[name][0], lengths) for name in ("input_ids", "labels"))
    return list(zip(ids, labels, strict=True))
