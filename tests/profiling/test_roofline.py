"""A compiled program's work, against counts by hand and against unrolled programs."""

import functools

import jax
import jax.numpy as jnp
import pytest

from emnat_jax.profiling.hlo import parse
from emnat_jax.profiling.roofline import costs, work_of

# As the TPU compiler prints it: a product as a convolution, a stack of weights read slice by slice in a loop,
# a result written into its place in a stack, a prefetch into the chip's own memory (S(1)), collectives.
PROGRAM = """
HloModule jit_step, is_scheduled=true

%sliced (stack: f32[6,256,128], index: s32[]) -> f32[256,128] {
  %stack = f32[6,256,128]{2,1,0:T(8,128)} parameter(0)
  %index = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %one = f32[1,256,128]{2,1,0:T(8,128)} dynamic-slice(%stack, %index, %zero, %zero), dynamic_slice_sizes={1,256,128}
  ROOT %flat = f32[256,128]{1,0:T(8,128)} bitcast(%one)
}

%stored (saved: f32[6,8,128], row: f32[1,8,128], at: s32[]) -> f32[6,8,128] {
  %saved = f32[6,8,128]{2,1,0:T(8,128)} parameter(0)
  %row = f32[1,8,128]{2,1,0:T(8,128)} parameter(1)
  %at = s32[]{:T(128)} parameter(2)
  %nought = s32[]{:T(128)} constant(0)
  ROOT %changed = f32[6,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%saved, %row, %at, %nought, %nought)
}

%body (state: (s32[], f32[6,256,128], f32[8,256], f32[6,8,128])) -> (s32[], f32[6,256,128], f32[8,256], f32[6,8,128]) {
  %state = (s32[]{:T(128)}, f32[6,256,128]{2,1,0:T(8,128)}, f32[8,256]{1,0:T(8,128)}, f32[6,8,128]{2,1,0:T(8,128)}) parameter(0)
  %turn = s32[]{:T(128)} get-tuple-element(%state), index=0
  %weights = f32[6,256,128]{2,1,0:T(8,128)} get-tuple-element(%state), index=1
  %x = f32[8,256]{1,0:T(8,128)} get-tuple-element(%state), index=2
  %stack.1 = f32[6,8,128]{2,1,0:T(8,128)} get-tuple-element(%state), index=3
  %weight = f32[256,128]{1,0:T(8,128)} fusion(%weights, %turn), kind=kLoop, calls=%sliced
  %product = f32[1,8,128]{2,1,0:T(8,128)} convolution(%x, %weight), dim_labels=bf_io->0bf, metadata={op_name="layer/dot"}
  %kept = f32[6,8,128]{2,1,0:T(8,128)} fusion(%stack.1, %product, %turn), kind=kLoop, calls=%stored
  %reduced = f32[1,8,128]{2,1,0:T(8,128)} all-reduce(%product), replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %next = (s32[]{:T(128)}, f32[6,256,128]{2,1,0:T(8,128)}, f32[8,256]{1,0:T(8,128)}, f32[6,8,128]{2,1,0:T(8,128)}) tuple(%turn, %weights, %x, %kept)
}

%condition (state.1: (s32[], f32[6,256,128], f32[8,256], f32[6,8,128])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[6,256,128]{2,1,0:T(8,128)}, f32[8,256]{1,0:T(8,128)}, f32[6,8,128]{2,1,0:T(8,128)}) parameter(0)
  %six = s32[]{:T(128)} constant(6)
  %turn.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%turn.1, %six), direction=LT
}

ENTRY %main (begin: (s32[], f32[6,256,128], f32[8,256], f32[6,8,128]), narrow: f32[3,129]) -> f32[3,129] {
  %begin = (s32[]{:T(128)}, f32[6,256,128]{2,1,0:T(8,128)}, f32[8,256]{1,0:T(8,128)}, f32[6,8,128]{2,1,0:T(8,128)}) parameter(0)
  %narrow = f32[3,129]{1,0:T(8,128)} parameter(1)
  %loop = (s32[]{:T(128)}, f32[6,256,128]{2,1,0:T(8,128)}, f32[8,256]{1,0:T(8,128)}, f32[6,8,128]{2,1,0:T(8,128)}) while(%begin), condition=%condition, body=%body
  %ahead = (f32[3,129]{1,0:T(8,128)S(1)}, f32[3,129]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%narrow)
  %near = f32[3,129]{1,0:T(8,128)S(1)} copy-done(%ahead)
  ROOT %result = f32[3,129]{1,0:T(8,128)} negate(%near), metadata={op_name="last"}
}
"""
PADDED = 8 * 256 * 4  # bytes of f32[3,129] in tiles of 8 x 128
LAYER = 256 * 128 * 4
OUT = 8 * 128 * 4


def test_traffic_of_a_printed_program_by_hand():
    works = work_of(parse(PROGRAM))
    found = {work.source: work for work in works if work.bytes}
    assert found["weight"].bytes == 6 * (2 * LAYER + 4)  # a slice, not the stack, and its index
    assert found["layer/dot"].bytes == 6 * (8 * 256 * 4 + LAYER + OUT)
    assert found["layer/dot"].flops == 6 * 2 * 8 * 256 * 128
    assert found["kept"].bytes == 6 * (2 * OUT + 4)  # the row read and written, and its index
    assert found["ahead"].bytes == PADDED  # read; the other end is on the chip
    assert found["last"].bytes == PADDED  # written; what it reads is on the chip
    assert found["reduced"].bytes == 6 * 2 * OUT
    assert found["reduced"].link_bytes == pytest.approx(6 * 2 * 7 / 8 * OUT)
    assert set(found) == {"weight", "layer/dot", "kept", "ahead", "last", "reduced"}


def test_costs_sum_up_what_bounds_each_operation():
    found = costs(work_of(parse(PROGRAM)), flops=1e6, hbm_bandwidth=1e9, link_bandwidth=1e3)
    layer = 6 * 2 * 8 * 256 * 128 / 1e6  # bound by its operations, all others by their bytes
    others = found.bytes - 6 * (8 * 256 * 4 + LAYER + OUT)
    assert found.bounds["operations"] == pytest.approx(layer + others / 1e9)
    assert found.bounds["links"] == pytest.approx(found.link_bytes / 1e3) == found.seconds
    assert found.collectives == {"all-reduce": 6} and found.largest[0][0] == "layer/dot"


CONVOLUTION = """
ENTRY %main (a: bf16[4,8,16,32], b: bf16[4,8,24,32]) -> f32[4,8,16,24] {{
  %a = bf16[{a}] parameter(0)
  %b = bf16[{b}] parameter(1)
  ROOT %c = f32[{c}] convolution(%a, %b), {how}
}}
"""


@pytest.mark.parametrize(
    ("a", "b", "c", "how", "flops"),
    [
        # 4 x 8 products of 16 x 32 with 32 x 24: the batch as a window that meets one element each
        (
            "4,16,8,32",
            "4,24,8,32",
            "4,8,16,24",
            "window={size=4x8 stride=3x7 lhs_dilate=4x8}, dim_labels=0b1f_0o1i->01bf",
            2 * 4 * 8 * 16 * 32 * 24,
        ),
        # [5, 32] with [32, 3, 8], as a window over padding
        (
            "5,32,1",
            "32,3,8",
            "5,3,8",
            "window={size=3 pad=2_2 rhs_reversal=1}, dim_labels=bf0_i0o->b0f",
            2 * 5 * 32 * 3 * 8,
        ),
        ("64,32", "48,32", "64,48", "dim_labels=bf_oi->bf", 2 * 64 * 32 * 48),
    ],
)
def test_products_that_a_tpu_prints_as_convolutions(a, b, c, how, flops):
    works = work_of(parse(CONVOLUTION.format(a=a, b=b, c=c, how=how)))
    assert sum(work.flops for work in works) == flops


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("f32[32]{0} all-gather(%x), replica_groups={{0,1,2,3}}, dimensions={0}", 3 * 32),
        ("f32[2]{0} reduce-scatter(%x), replica_groups=[2,4]<=[8], to_apply=%add", 3 / 4 * 32),
        ("f32[8]{0} all-to-all(%x), replica_groups={{0,1,2,3}}", 3 / 4 * 32),
        ("(f32[8]{0}, f32[8]{0}) all-reduce-start(%x), replica_groups={{0,1}}", 32),
        ("f32[8]{0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}", 32),
    ],
)
def test_bytes_that_a_device_sends(line, sent):
    text = f"ENTRY %main (x: f32[8]) -> f32[8] {{\n  %x = f32[8]{{0}} parameter(0)\n  ROOT %y = {line}\n}}\n"
    (work,) = (work for work in work_of(parse(text)) if work.collective)
    assert work.link_bytes == pytest.approx(sent)


def compiled(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return work_of(parse(jax.jit(function).lower(*arguments).compile().as_text()))


def layers(x, weights, *, unroll):
    def layer(x, weight):
        return jnp.tanh(x @ weight), None

    return jnp.sum(jax.lax.scan(layer, x, weights, unroll=unroll)[0])


def test_a_scanned_program_has_the_products_of_an_unrolled_one():
    shapes = ((6, 16, 32), (5, 32, 32))
    flops = [
        sum(
            work.flops
            for work in compiled(jax.grad(functools.partial(layers, unroll=unroll)), (16, 32), shapes[1])
        )
        for unroll in (1, 5)
    ]
    # Forward, and backward for the activations; the weights' gradient is not asked for.
    assert flops[0] == flops[1] or flops[0] == flops[1] + 2 * 16 * 32 * 32  # of x itself: kept by the loop


def test_a_search_counts_its_longest_way():
    def search(x, weight):
        go_on = lambda state: (state[0] < 7) & (state[1][0, 0] < 1e3)  # noqa: E731
        return jax.lax.while_loop(go_on, lambda state: (state[0] + 1, state[1] @ weight), (0, x))

    works = compiled(search, (16, 32), (32, 32))
    assert sum(work.flops for work in works) == 7 * 2 * 16 * 32 * 32
