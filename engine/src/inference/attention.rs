//! A layer's attention: biases, norms of heads, RoPE, the cache, and the kernel for each head.

use super::forward::Workspace;
use crate::kernels::attention::attend;
use crate::kernels::norm;
use crate::kv_cache::KvCache;
use crate::model::Model;
use crate::model::layout::AttentionLayer;

/// Attention of every head: from the queries, keys and values in the workspace to `attended`,
/// `[heads, head_dim]`.
pub(super) fn run(
    model: &Model,
    layer: &AttentionLayer,
    index: usize,
    position: usize,
    ws: &mut Workspace,
    kv: &mut KvCache,
) {
    let c = &model.config;
    let (q, rest) = ws.mixer_in.split_at_mut(c.q_dim());
    let (k, rest) = rest.split_at_mut(c.kv_dim());
    let v = &mut rest[..c.kv_dim()];
    if let Some([q_bias, k_bias, v_bias]) = &layer.qkv_bias {
        norm::add(q, model.vector(q_bias));
        norm::add(k, model.vector(k_bias));
        norm::add(v, model.vector(v_bias));
    }
    if let (Some(q_norm), Some(k_norm)) = (&layer.q_norm, &layer.k_norm) {
        for head in q.chunks_exact_mut(c.head_dim) {
            norm::rms_norm_in_place(head, model.vector(q_norm), c.norm_eps);
        }
        for head in k.chunks_exact_mut(c.head_dim) {
            norm::rms_norm_in_place(head, model.vector(k_norm), c.norm_eps);
        }
    }
    let window = c.window(index);
    let rope = match (&window, &ws.rope_local) {
        (Some(_), Some(local)) => local,
        _ => &ws.rope,
    };
    if c.has_rope(index) {
        rope.rotate(c.family.rope_pairs, q);
        rope.rotate(c.family.rope_pairs, k);
    }
    kv.write(position, index, k, v);

    let seen = window.map_or(0, |w| (position + 1).saturating_sub(w.size))..position + 1;
    let scale = 1.0 / (c.head_dim as f32).sqrt();
    let group = c.heads / c.kv_heads;
    let heads = q
        .chunks_exact(c.head_dim)
        .zip(ws.attended.chunks_exact_mut(c.head_dim));
    for (h, (q, out)) in heads.enumerate() {
        let units = |block| kv.unit(block, index, h / group);
        attend(q, scale, units, seen.clone(), &mut ws.scratch, out);
    }
}
