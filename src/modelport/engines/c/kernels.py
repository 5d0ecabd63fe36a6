"""C for the layers that take the time, in place of the generator's plain loops.

A convolution gathers what a block of pixels sees into a patch, and then is a product of matrices; so are
MatMul and Gemm. The product keeps a block of results in registers, in vectors where compiler and processor
have them. No sum is taken in another order than one a reader could write down, so no fast-math is needed.
"""

from __future__ import annotations

LANES = r"""/* Vectors as long as the processor's own; 1 is plain float, for any compiler. */
#ifndef MODEL_LANES
#if defined(__GNUC__) && defined(__AVX__)
#define MODEL_LANES 8
#elif defined(__GNUC__) && (defined(__SSE__) || defined(__ARM_NEON))
#define MODEL_LANES 4
#else
#define MODEL_LANES 1
#endif
#endif
#define MODEL_TILE (2 * MODEL_LANES)
"""

KERNELS = r"""
#if MODEL_LANES > 1
typedef float model_lanes __attribute__((vector_size(4 * MODEL_LANES), aligned(4), may_alias));
#else
typedef float model_lanes;
#endif
#if defined(__clang__)
#define MODEL_SHARED static EMX_UNUSED __attribute__((noinline))
#define MODEL_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define MODEL_SHARED static EMX_UNUSED __attribute__((noinline, noclone))
#define MODEL_UNROLL _Pragma("GCC unroll 4")
#else
#define MODEL_SHARED static
#define MODEL_UNROLL
#endif

/* A block of `rows` x MODEL_TILE of the product a * b, of which `columns` are kept. */
static inline void model_block(const int rows, idx_t columns, idx_t depth,
                               const float *a, idx_t a_step, const float *b, idx_t b_step,
                               const float *start, float *c, idx_t c_step) {
    model_lanes sum[4][2];
    MODEL_UNROLL
    for (int r = 0; r < rows; ++r) {
        sum[r][0] = sum[r][1] = (model_lanes){0} + (start ? start[r] : 0.0f);
    }
    for (idx_t d = 0; d < depth; ++d) {
        const model_lanes *x = (const model_lanes *)(b + d * b_step);
        MODEL_UNROLL
        for (int r = 0; r < rows; ++r) {
            const float factor = a[r * a_step + d];
            sum[r][0] += factor * x[0];
            sum[r][1] += factor * x[1];
        }
    }
    MODEL_UNROLL
    for (int r = 0; r < rows; ++r) {
        if (columns == MODEL_TILE) {
            memcpy(c + r * c_step, sum[r], MODEL_TILE * sizeof(float));
        } else {
            memcpy(c + r * c_step, sum[r], (size_t)columns * sizeof(float));
        }
    }
}

/* A column of blocks. */
MODEL_SHARED void model_column(idx_t rows, idx_t columns, idx_t depth,
                         const float *a, idx_t a_step, const float *b, idx_t b_step,
                         const float *start, float *c, idx_t c_step) {
    idx_t i = 0;
    for (; i + 4 <= rows; i += 4) {
        model_block(4, columns, depth, a + i * a_step, a_step, b, b_step,
                    start ? start + i : 0, c + i * c_step, c_step);
    }
    for (; i < rows; ++i) {
        model_block(1, columns, depth, a + i * a_step, a_step, b, b_step,
                    start ? start + i : 0, c + i * c_step, c_step);
    }
}

/* c = a * b, from `start` on where there is one, a value for each row. */
MODEL_SHARED void model_product(idx_t rows, idx_t columns, idx_t depth,
                          const float *a, idx_t a_step, const float *b, idx_t b_step,
                          const float *start, float *c, idx_t c_step) {
    if (columns < MODEL_TILE) {
        for (idx_t i = 0; i < rows; ++i) {
            for (idx_t j = 0; j < columns; ++j) {
                c[i * c_step + j] = start ? start[i] : 0.0f;
            }
            for (idx_t d = 0; d < depth; ++d) {
                for (idx_t j = 0; j < columns; ++j) {
                    c[i * c_step + j] += a[i * a_step + d] * b[d * b_step + j];
                }
            }
        }
        return;
    }
    for (idx_t j = 0; j < columns; j += MODEL_TILE) {
        /* The last block reaches back over columns that are done. */
        const idx_t first = j + MODEL_TILE <= columns ? j : columns - MODEL_TILE;
        model_column(rows, MODEL_TILE, depth, a, a_step, b + first, b_step,
                     start, c + first, c_step);
    }
}

/* c[i][j] = the sum of a[i][k] * b[j][k]. */
MODEL_SHARED void model_dots(idx_t rows, idx_t columns, idx_t depth,
                       const float *a, const float *b, float *c) {
    for (idx_t i = 0; i < rows; ++i) {
        for (idx_t j = 0; j < columns; ++j) {
            const float *x = a + i * depth, *y = b + j * depth;
            model_lanes sum[4];
            float parts[4 * MODEL_LANES], total = 0.0f;
            idx_t k = 0;
            MODEL_UNROLL
            for (int p = 0; p < 4; ++p) {
                sum[p] = (model_lanes){0};
            }
            for (; k + 4 * MODEL_LANES <= depth; k += 4 * MODEL_LANES) {
                MODEL_UNROLL
                for (int p = 0; p < 4; ++p) {
                    sum[p] += ((const model_lanes *)(x + k))[p] * ((const model_lanes *)(y + k))[p];
                }
            }
            memcpy(parts, sum, sizeof(parts));
            for (; k < depth; ++k) {
                total += x[k] * y[k];
            }
            for (int p = 0; p < 4 * MODEL_LANES; ++p) {
                total += parts[p];
            }
            c[i * columns + j] = total;
        }
    }
}
"""

CONV = """
{% set fits = acc_type == "float" and spatial_rank in (1, 2) %}
{% set flat = spatial_rank == 1 %}
{% set rows, columns = (1, out_spatial[0]) if flat else (out_spatial[0], out_spatial[1]) %}
{% set high, wide = (1, in_spatial[0]) if flat else (in_spatial[0], in_spatial[1]) %}
{% set tall, broad = (1, kernel_shape[0]) if flat else (kernel_shape[0], kernel_shape[1]) %}
{% set down, along = (1, strides[0]) if flat else (strides[0], strides[1]) %}
{% set above, before = (0, pads_begin[0]) if flat else (pads_begin[0], pads_begin[1]) %}
{% set apart, aside = (1, dilations[0]) if flat else (dilations[0], dilations[1]) %}
{% set depth = group_in_channels * tall * broad %}
{% set plain = tall == 1 and broad == 1 and down == 1 and along == 1 and above == 0
   and before == 0 and rows == high and columns == wide and rows * columns >= 16 %}
{% if not fits %}
{% set params = ["float *patch"] + (params | list) %}
{% include "plain/conv_op.c.j2" %}
{% elif tall * broad * high * wide * group * batch == 1 %}
EMX_NODE_FN void {{ op_name }}(float *patch, {{ params | join(', ') }}) {
    float *y = (float *){{ output }};
    (void)patch;
    model_dots(1, {{ out_channels }}, {{ depth }}, (const float *){{ input0 }},
               (const float *){{ weights }}, y);
{% if bias %}
    for (idx_t oc = 0; oc < {{ out_channels }}; ++oc) {
        y[oc] += {{ bias }}[oc];
    }
{% endif %}
}
{% elif group_in_channels == 1 and group_out_channels <= 2 %}
EMX_NODE_FN void {{ op_name }}(float *patch, {{ params | join(', ') }}) {
    (void)patch;
    for (idx_t c = 0; c < {{ batch * out_channels }}; ++c) {
        const idx_t oc = c % {{ out_channels }};
        const float *x = (const float *){{ input0 }}
            + (c / {{ out_channels }} * {{ in_channels }} + oc / {{ group_out_channels }})
            * {{ high * wide }};
        const float *w = (const float *){{ weights }} + oc * {{ depth }};
        float *y = (float *){{ output }} + c * {{ rows * columns }};
        for (idx_t oh = 0; oh < {{ rows }}; ++oh) {
            float sum[{{ columns }}];
            for (idx_t ow = 0; ow < {{ columns }}; ++ow) {
                sum[ow] = {{ bias ~ "[oc]" if bias else "0.0f" }};
            }
            for (idx_t kh = 0; kh < {{ tall }}; ++kh) {
                const idx_t ih = oh * {{ down }} + kh * {{ apart }} - {{ above }};
                if (ih < 0 || ih >= {{ high }}) {
                    continue;
                }
                for (idx_t kw = 0; kw < {{ broad }}; ++kw) {
                    const idx_t shift = kw * {{ aside }} - {{ before }};
                    const float factor = w[kh * {{ broad }} + kw];
                    idx_t low = 0, end = {{ columns }};
                    while (low < end && low * {{ along }} + shift < 0) {
                        ++low;
                    }
                    while (end > low && (end - 1) * {{ along }} + shift >= {{ wide }}) {
                        --end;
                    }
                    for (idx_t ow = low; ow < end; ++ow) {
                        sum[ow] += factor * x[ih * {{ wide }} + ow * {{ along }} + shift];
                    }
                }
            }
            memcpy(y + oh * {{ columns }}, sum, sizeof(sum));
        }
    }
}
{% else %}
EMX_NODE_FN void {{ op_name }}(float *patch, {{ params | join(', ') }}) {
    for (idx_t g = 0; g < {{ batch * group }}; ++g) {
        const float *x = (const float *){{ input0 }} + g * {{ group_in_channels * high * wide }};
        const float *w = (const float *){{ weights }} + g % {{ group }} * {{ group_out_channels * depth }};
        const float *start = {{ bias ~ " + g % " ~ group ~ " * " ~ group_out_channels if bias else "0" }};
        float *y = (float *){{ output }} + g * {{ group_out_channels * rows * columns }};
{% if plain %}
        (void)patch;
        if ({{ rows * columns }} >= MODEL_TILE) {
            model_product({{ group_out_channels }}, {{ rows * columns }}, {{ depth }}, w, {{ depth }},
                          x, {{ rows * columns }}, start, y, {{ rows * columns }});
            continue;
        }
{% endif %}
        for (idx_t first = 0; first < {{ rows * columns }}; first += MODEL_TILE) {
            const idx_t left = {{ rows * columns }} - first;
            float *p = patch;
            for (idx_t ic = 0; ic < {{ group_in_channels }}; ++ic) {
                for (idx_t kh = 0; kh < {{ tall }}; ++kh) {
                    for (idx_t kw = 0; kw < {{ broad }}; ++kw) {
                        idx_t oh = first / {{ columns }}, ow = first % {{ columns }};
                        for (idx_t t = 0; t < MODEL_TILE; ++t) {
                            const idx_t ih = oh * {{ down }} + kh * {{ apart }} - {{ above }};
                            const idx_t iw = ow * {{ along }} + kw * {{ aside }} - {{ before }};
                            const int inside = ih >= 0 && ih < {{ high }} && iw >= 0 && iw < {{ wide }}
                                && t < left;
                            *p++ = inside ? x[(ic * {{ high }} + ih) * {{ wide }} + iw] : 0.0f;
                            if (++ow == {{ columns }}) {
                                ow = 0;
                                ++oh;
                            }
                        }
                    }
                }
            }
            model_column({{ group_out_channels }}, left < MODEL_TILE ? left : MODEL_TILE, {{ depth }},
                         w, {{ depth }}, patch, MODEL_TILE, start, y + first, {{ rows * columns }});
        }
    }
}
{% endif %}
"""

MATMUL = """
{% set ranks = output_loop_vars | length %}
{% set row = "[" ~ output_loop_vars[-2] ~ "]" if ranks > 1 else "" %}
{% set column = "[" ~ output_loop_vars[-1] ~ "]" if ranks else "" %}
{% if acc_type == "float" and ranks > 1 and row ~ "[k]" in input0_index_expr
   and "[k]" ~ column in input1_index_expr %}
EMX_NODE_FN void {{ op_name }}({{ params | join(', ') }}) {
{% for name in output_loop_vars[:-2] %}
    for (idx_t {{ name }} = 0; {{ name }} < {{ output_loop_bounds[loop.index0] }}; ++{{ name }}) {
{% endfor %}
    model_product({{ output_loop_bounds[-2] }}, {{ output_loop_bounds[-1] }}, {{ k }},
        (const float *)&{{ input0_index_expr | replace(row ~ "[k]", "[0][0]") }}, {{ k }},
        (const float *)&{{ input1_index_expr | replace("[k]" ~ column, "[0][0]") }},
        {{ output_loop_bounds[-1] }}, 0,
        (float *)&{{ output_index_expr | replace(row ~ column, "[0][0]") }}, {{ output_loop_bounds[-1] }});
{% for name in output_loop_vars[:-2] %}
    }
{% endfor %}
}
{% else %}
{% include "plain/matmul_op.c.j2" %}
{% endif %}
"""

GEMM = """
{% if acc_type == "float" and c_type == "float" and not trans_a %}
EMX_NODE_FN void {{ op_name }}({{ params | join(', ') }}) {
{% if trans_b %}
    model_dots({{ m }}, {{ n }}, {{ k }}, (const float *){{ input_a }}, (const float *){{ input_b }},
               (float *){{ output }});
{% else %}
    model_product({{ m }}, {{ n }}, {{ k }}, (const float *){{ input_a }}, {{ k }},
                  (const float *){{ input_b }}, {{ n }}, 0, (float *){{ output }}, {{ n }});
{% endif %}
    for (idx_t i = 0; i < {{ m }}; ++i) {
        for (idx_t j = 0; j < {{ n }}; ++j) {
            {{ output }}[i][j] = {{ output }}[i][j] * {{ alpha_literal }}
{%- if input_c %}
 + {{ beta_literal }} * {{ input_c }}
{%- if c_rank == 2 %}
[{{ "0" if c_dim0 == 1 else "i" }}][{{ "0" if c_dim1 == 1 else "j" }}]
{%- elif c_rank == 1 %}
[{{ "0" if c_dim1 == 1 else ("i" if c_axis == "row" else "j") }}]
{%- else %}
[0]
{%- endif %}
{%- endif %}
;
        }
    }
}
{% else %}
{% include "plain/gemm_op.c.j2" %}
{% endif %}
"""

TEMPLATES = {"conv_op.c.j2": CONV, "matmul_op.c.j2": MATMUL, "gemm_op.c.j2": GEMM}
