//! A layer's short convolution ([`crate::model::short_conv`]).

use super::forward::Workspace;
use crate::kv_cache::KvCache;
use crate::model::Config;

/// A convolution with a gate on either side: `C · Σ_j w_j (B · x)_(p-j)`, channel by channel, from the
/// gates and the input in the workspace to `attended`, `[dim]`. The products of earlier positions are in
/// the cache, in place of keys and values; so whatever keeps, drops or shares rows of a cache works here
/// too. `taps` is `[dim, taps]`.
pub(super) fn run(
    c: &Config,
    taps: &[f32],
    index: usize,
    position: usize,
    ws: &mut Workspace,
    kv: &mut KvCache,
) {
    let (b, rest) = ws.mixer_in.split_at_mut(c.dim);
    let (gate, x) = rest.split_at_mut(c.dim);
    let len = taps.len() / c.dim;
    ws.seen.fill(0.0);
    for ((seen, b), x) in ws.seen.iter_mut().zip(b).zip(x) {
        *seen = *b * *x;
    }
    let out = &mut ws.attended;
    for ((out, new), taps) in out.iter_mut().zip(&ws.seen).zip(taps.chunks_exact(len)) {
        *out = new * taps[len - 1];
    }
    let half = ws.seen.len() / 2;
    let (k, v) = ws.seen.split_at(half);
    kv.write(position, index, k, v);
    for back in 1..len.min(position + 1) {
        kv.read(position - back, index, &mut ws.seen);
        for ((out, old), taps) in out.iter_mut().zip(&ws.seen).zip(taps.chunks_exact(len)) {
            *out += old * taps[len - 1 - back];
        }
    }
    for (out, gate) in out.iter_mut().zip(gate) {
        *out *= *gate;
    }
}
