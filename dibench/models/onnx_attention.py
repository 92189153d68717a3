"""Writes onnxruntime's attention as standard ONNX nodes: q, k and v as [batch, heads, tokens, width]."""

from __future__ import annotations

from dibench.models.onnx_writer import Write, Writer


def _split_heads(w: Writer, x: str, heads: int) -> str:
    """[batch, tokens, heads·width] as [batch, heads, tokens, width]."""
    return w.transpose(w.reshape(x, [0, 0, heads, -1]), [0, 2, 1, 3])


def _attend(w: Writer, q: str, k: str, v: str, heads: int, kv_heads: int) -> None:
    """The two products of attention; heads that share keys become rows of one product."""
    if heads != kv_heads:
        q = w.reshape(q, [0, kv_heads, -1, 0])
    scores = w.add("MatMul", [q, w.transpose(k, [0, 1, 3, 2])], part="/scores")
    mixed = w.add("MatMul", [scores, v], part="/values")
    if heads != kv_heads:
        mixed = w.reshape(mixed, [0, heads, -1, 0])
    w.reshape(w.transpose(mixed, [0, 2, 1, 3]), [0, 0, -1], w.output(0))


def _with_past(w: Writer, past: int, present: int, now: str) -> str:
    """The keys or values of the past and now, one after the other."""
    if w.optional(past) and w.number("past_present_share_buffer", 0):
        return w.add("Identity", [w.input(past)], w.output(present))
    if w.optional(past):
        return w.add("Concat", [w.input(past), now], w.output(present), axis=2)
    return w.add("Identity", [now], w.output(present)) if w.output(present) else now


def projected_attention(past: int) -> Write:
    """Inputs times one weight that holds the three projections, then attention."""

    def write(w: Writer) -> None:
        heads = w.number("num_heads")
        projected = w.add("MatMul", [w.input(0), w.input(1)])
        widths = list(w.attributes.get("qkv_hidden_sizes", ()))
        if widths:
            ends = [sum(widths[: i + 1]) for i in range(3)]
            starts = [0, *ends[:2]]
            parts = [w.take(projected, 2, range(start, end)) for start, end in zip(starts, ends, strict=True)]
        else:
            thirds = w.reshape(projected, [0, 0, 3, -1])
            parts = [w.take(thirds, 2, i) for i in range(3)]
        q, k, v = (_split_heads(w, part, heads) for part in parts)
        if w.optional(past):
            k, v = (
                w.add("Concat", [w.take(w.input(past), 0, i), now], axis=2) for i, now in enumerate((k, v))
            )
        _attend(w, q, k, v, heads, heads)

    return write


def multi_head_attention(past: int) -> Write:
    """q, k and v apart, or packed into q (five axes), or k and v packed into k."""

    def write(w: Writer) -> None:
        heads = w.number("num_heads")
        if not w.optional(1):
            q, k, v = (w.transpose(w.take(w.input(0), 3, i), [0, 2, 1, 3]) for i in range(3))
        else:
            q = _split_heads(w, w.input(0), heads)
            if not w.optional(2):
                k, v = (w.transpose(w.take(w.input(1), 3, i), [0, 2, 1, 3]) for i in range(2))
            else:
                k, v = (
                    w.input(i) if w.rank(w.input(i)) == 4 else _split_heads(w, w.input(i), heads)
                    for i in (1, 2)
                )
        k, v = _with_past(w, past, 1, k), _with_past(w, past + 1, 2, v)
        _attend(w, q, k, v, heads, heads)

    return write


def grouped_query_attention(w: Writer) -> None:
    """Several heads of q share one of k and v; all three may be packed into q."""
    heads, kv_heads = w.number("num_heads"), w.number("kv_num_heads")
    if w.optional(1):
        q, k, v = (_split_heads(w, w.input(i), count) for i, count in enumerate((heads, kv_heads, kv_heads)))
    else:
        packed = _split_heads(w, w.input(0), heads + 2 * kv_heads)
        ends = (0, heads, heads + kv_heads, heads + 2 * kv_heads)
        q, k, v = (w.take(packed, 1, range(ends[i], ends[i + 1])) for i in range(3))
    k, v = _with_past(w, 3, 1, k), _with_past(w, 4, 2, v)
    _attend(w, q, k, v, heads, kv_heads)


# Products that depend on data: the node stays to be listed, and its result is known.


def listed(x: int) -> Write:
    """The node itself, beside a result with the shape of input `x`."""

    def write(w: Writer) -> None:
        w.keep()
        w.add("Identity", [w.input(x)], w.output(0))

    return write


def packed_attention(w: Writer) -> None:
    """Tokens of all sequences in one matrix, times the weight of the three projections."""
    w.keep()
    projected = w.add("MatMul", [w.input(0), w.input(1)], part="/projections")
    width = (list(w.attributes.get("qkv_hidden_sizes", ())) or [w.sizes(w.input(1))[1] // 3])[-1]
    w.add("Gather", [projected, w.integers(range(width))], w.output(0), axis=1)


def packed_heads(w: Writer) -> None:
    """q, k and v of all tokens apart, or packed into q as [tokens, heads, 3, width]."""
    w.keep()
    if w.optional(2):
        w.add("Identity", [w.input(2)], w.output(0))
    else:
        w.reshape(w.take(w.input(0), 2, 0), [0, -1], w.output(0))
