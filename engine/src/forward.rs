//! The forward pass of one token, as a machine that can stop between layers (and within the head).

use crate::Error;
use crate::config::Config;
use crate::kernels::attention::{Scratch, attend};
use crate::kernels::quantize::Quantized;
use crate::kernels::rope::RopeTable;
use crate::kernels::{activation, norm};
use crate::kv::KvCache;
use crate::layout::Layer;
use crate::model::Model;
use crate::pacer::{Pacer, Piece};
use weights::pack::{LANES, unpack_row};

/// Where a token's forward pass stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is done.
    Start,
    /// Layers before this one are done.
    Layer(u32),
    /// All layers are done; the logits are wanted.
    Head,
    /// The logits (if wanted) are in the workspace.
    Done,
}

/// A token on its way. What must last while it is paused: 4 bytes for each unit of model width.
#[derive(Debug, Clone)]
pub struct Forward {
    pub stage: Stage,
    /// The residual stream.
    pub x: Vec<f32>,
}

/// Who the head's partial results in a workspace belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeadProgress {
    generation: u64,
    position: usize,
    groups: usize,
}

/// Scratch memory of the forward pass, used by one token after another.
pub struct Workspace {
    normed: Vec<f32>,
    qkv: Vec<f32>,
    /// A row of the cache, for short convolutions.
    seen: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    projected: Vec<f32>,
    quantized_dim: Quantized,
    quantized_q: Quantized,
    quantized_ffn: Quantized,
    scratch: Scratch,
    rope: RopeTable,
    rope_local: Option<RopeTable>,
    rope_position: Option<usize>,
    /// One logit a word (padded to a multiple of four).
    pub logits: Vec<f32>,
    head: Option<HeadProgress>,
}

/// Row groups of the head between two looks at the meter: about one layer's work.
fn head_piece_groups(c: &Config) -> usize {
    (c.layer_macs() as usize / (LANES * c.dim)).max(64)
}

impl Workspace {
    /// For a model.
    pub fn new(c: &Config) -> Self {
        let padded = |n: usize| n.next_multiple_of(LANES);
        // A convolution has two gates and its input, and looks at rows of the cache.
        let (qkv, seen) = match c.short_conv {
            Some(_) => (3 * c.dim, 2 * c.cache_heads() * c.head_dim),
            None => (0, 0),
        };
        let qkv = qkv.max(c.q_dim() + 2 * c.kv_dim());
        Self {
            normed: vec![0.0; c.dim],
            qkv: vec![0.0; padded(qkv)],
            seen: vec![0.0; seen],
            attended: vec![0.0; c.q_dim()],
            gate_up: vec![0.0; padded(2 * c.ffn_dim)],
            projected: vec![0.0; padded(c.dim)],
            quantized_dim: Quantized::new(c.dim),
            quantized_q: Quantized::new(c.q_dim()),
            quantized_ffn: Quantized::new(c.ffn_dim),
            scratch: Scratch::new(c.head_dim),
            rope: RopeTable::new(c.head_dim, c.rope_base, Some(&c.rope)),
            rope_local: c
                .sliding_window
                .map(|w| RopeTable::new(c.head_dim, w.rope_base, None)),
            rope_position: None,
            logits: vec![0.0; padded(c.vocabulary)],
            head: None,
        }
    }

    fn set_position(&mut self, model: &Model, position: usize) {
        if self.rope_position != Some(position) {
            let factors = model.layout.rope_factors.as_ref();
            self.rope.set(position, factors.map(|f| model.vector(f)));
            if let Some(local) = &mut self.rope_local {
                local.set(position, None);
            }
            self.rope_position = Some(position);
        }
    }
}

/// One token's place: which generation, which position, and whether logits are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub generation: u64,
    pub position: usize,
    pub token: u32,
    pub logits: bool,
}

impl Forward {
    /// At the start of a token.
    pub fn new() -> Self {
        Self {
            stage: Stage::Start,
            x: Vec::new(),
        }
    }

    /// Goes on until this token is done (`true`) or the pacer says stop (`false`).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] for the KV cache, [`Error::BudgetTooSmall`].
    pub fn advance(
        &mut self,
        model: &Model,
        ws: &mut Workspace,
        kv: &mut KvCache,
        place: Place,
        pacer: &mut Pacer<'_>,
    ) -> Result<bool, Error> {
        let c = &model.config;
        let position = place.position;
        if self.stage == Stage::Start {
            kv.grow(position + 1)?;
            self.x.resize(c.dim, 0.0);
            embed(model, place.token, &mut self.x);
            self.stage = Stage::Layer(0);
        }
        while let Stage::Layer(l) = self.stage {
            let Some(layer) = model.layout.layers.get(l as usize) else {
                self.stage = if place.logits {
                    Stage::Head
                } else {
                    Stage::Done
                };
                break;
            };
            kv.grow(position + 1)?;
            let ran = pacer.run(Piece::Layer, layer_units(c, l as usize, position), || {
                ws.set_position(model, position);
                run_layer(model, layer, l as usize, position, &mut self.x, ws, kv);
                Ok(())
            })?;
            if ran.is_none() {
                return Ok(false);
            }
            self.stage = Stage::Layer(l + 1);
        }
        if self.stage == Stage::Head {
            if !run_head(model, &self.x, ws, place, pacer)? {
                return Ok(false);
            }
            self.stage = Stage::Done;
        }
        Ok(true)
    }
}

impl Default for Forward {
    fn default() -> Self {
        Self::new()
    }
}

/// Estimated work of a layer: its multiply-accumulates, attention's and a little for the rest.
fn layer_units(c: &Config, layer: usize, position: usize) -> u64 {
    let seen = c
        .window(layer)
        .map_or(position + 1, |w| w.size.min(position + 1));
    let blocks = seen.div_ceil(crate::kernels::attention::BLOCK) + 1;
    let attention = 2 * (blocks * crate::kernels::attention::BLOCK * c.q_dim()) as u64;
    c.layer_macs() + attention + 20 * (c.dim + c.ffn_dim + c.q_dim()) as u64
}

/// The embedding of `token`, from its packed row.
fn embed(model: &Model, token: u32, x: &mut [f32]) {
    let m = &model.layout.embedding;
    let row = (token as usize).min(m.shape.rows.saturating_sub(1));
    let size = m.shape.group_bytes();
    let group = &model.region.bytes()[m.offset + row / LANES * size..][..size];
    unpack_row(group, row % LANES, x);
    if model.config.embedding_scale != 1.0 {
        for x in x {
            *x *= model.config.embedding_scale;
        }
    }
}

fn run_layer(
    model: &Model,
    layer: &Layer,
    index: usize,
    position: usize,
    x: &mut [f32],
    ws: &mut Workspace,
    kv: &mut KvCache,
) {
    let c = &model.config;

    // Attention.
    norm::rms_norm(
        x,
        model.vector(&layer.attention_norm),
        c.norm_eps,
        &mut ws.normed,
    );
    ws.quantized_dim.set(&ws.normed);
    let qkv = layer.qkv.shape;
    model
        .matrix(&layer.qkv)
        .times(&ws.quantized_dim, 0..qkv.groups(), &mut ws.qkv);
    match &layer.short_conv {
        Some(taps) => convolve(c, model.vector(taps), index, position, ws, kv),
        None => attention(model, layer, index, position, ws, kv),
    }
    ws.quantized_q.set(&ws.attended);
    let output = layer.output.shape;
    model
        .matrix(&layer.output)
        .times(&ws.quantized_q, 0..output.groups(), &mut ws.projected);
    let projected = &mut ws.projected[..c.dim];
    if let Some(post) = &layer.post_attention_norm {
        norm::rms_norm_in_place(projected, model.vector(post), c.norm_eps);
    }
    norm::add(x, projected);

    // Feed-forward.
    norm::rms_norm(x, model.vector(&layer.ffn_norm), c.norm_eps, &mut ws.normed);
    ws.quantized_dim.set(&ws.normed);
    let gate_up = layer.gate_up.shape;
    model
        .matrix(&layer.gate_up)
        .times(&ws.quantized_dim, 0..gate_up.groups(), &mut ws.gate_up);
    let (gate, up) = ws.gate_up.split_at_mut(c.ffn_dim);
    activation::gate(c.activation, gate, &up[..c.ffn_dim]);
    ws.quantized_ffn.set(gate);
    let down = layer.down.shape;
    model
        .matrix(&layer.down)
        .times(&ws.quantized_ffn, 0..down.groups(), &mut ws.projected);
    let projected = &mut ws.projected[..c.dim];
    if let Some(post) = &layer.post_ffn_norm {
        norm::rms_norm_in_place(projected, model.vector(post), c.norm_eps);
    }
    norm::add(x, projected);
}

/// Attention of every head, from the queries, keys and values in the workspace.
fn attention(
    model: &Model,
    layer: &Layer,
    index: usize,
    position: usize,
    ws: &mut Workspace,
    kv: &mut KvCache,
) {
    let c = &model.config;
    let (q, rest) = ws.qkv.split_at_mut(c.q_dim());
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
        rope.rotate(c.rope_pairs, q);
        rope.rotate(c.rope_pairs, k);
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

/// A short convolution with a gate on either side (LFM2): `C · Σ_j w_j (B · x)_(p-j)`, channel by
/// channel. What earlier positions brought is in the cache, in place of keys and values; so whatever
/// keeps, drops or shares rows of a cache does so here too.
fn convolve(
    c: &Config,
    taps: &[f32],
    index: usize,
    position: usize,
    ws: &mut Workspace,
    kv: &mut KvCache,
) {
    let (b, rest) = ws.qkv.split_at_mut(c.dim);
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

/// The output head, a piece of its rows at a time. The pieces done wait in the workspace; if
/// another generation used it meanwhile, the head begins again.
fn run_head(
    model: &Model,
    x: &[f32],
    ws: &mut Workspace,
    place: Place,
    pacer: &mut Pacer<'_>,
) -> Result<bool, Error> {
    let c = &model.config;
    let Place {
        generation,
        position,
        ..
    } = place;
    let mut done = match ws.head {
        Some(h) if h.generation == generation && h.position == position => h.groups,
        _ => 0,
    };
    let shape = model.layout.head.shape;
    norm::rms_norm(
        x,
        model.vector(&model.layout.output_norm),
        c.norm_eps,
        &mut ws.normed,
    );
    ws.quantized_dim.set(&ws.normed);
    while done < shape.groups() {
        let n = head_piece_groups(c).min(shape.groups() - done);
        let ran = pacer.run(Piece::Head, (n * LANES * c.dim) as u64, || {
            let out = &mut ws.logits[done * LANES..(done + n) * LANES];
            model
                .matrix(&model.layout.head)
                .times(&ws.quantized_dim, done..done + n, out);
            Ok(())
        })?;
        if ran.is_none() {
            ws.head = Some(HeadProgress {
                generation,
                position,
                groups: done,
            });
            return Ok(false);
        }
        done += n;
    }
    ws.head = None;
    Ok(true)
}
