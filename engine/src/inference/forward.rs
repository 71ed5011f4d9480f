//! The forward pass of one token, as a machine that can stop between layers (and within the head).

use super::budget::{InstructionBudget, WorkKind};
use super::{attention, short_conv};
use crate::Error;
use crate::kernels::attention::Scratch;
use crate::kernels::quantize::Quantized;
use crate::kernels::rope::RopeTable;
use crate::kernels::{activation, norm};
use crate::kv_cache::KvCache;
use crate::model::layout::{Layer, Mixer};
use crate::model::rope::RopeScaling;
use crate::model::{Config, Model};
use weights::pack::{LANES, unpack_row};

/// Where a token's forward pass stands: what must last while it is paused, with the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is done.
    Start,
    /// Layers before this one are done.
    Layer(u32),
    /// All layers are done; the head may run, again if need be.
    Head,
}

/// A token on its way. It alone changes its stage.
///
/// To keep a paused pass, store [`Self::stage`] and [`Self::residual`]; [`Self::restore`] continues it.
///
/// ```
/// use engine::inference::forward::{Forward, Stage};
/// let paused = Forward::restore(Stage::Layer(7), vec![0.5; 64]);
/// let again = Forward::restore(paused.stage(), paused.residual().to_vec());
/// assert_eq!(again.stage(), Stage::Layer(7));
/// ```
#[derive(Debug, Clone)]
pub struct Forward {
    stage: Stage,
    /// The residual stream, `[dim]`.
    x: Vec<f32>,
}

/// Whose partial results of the head are in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeadProgress {
    generation: u64,
    position: usize,
    groups: usize,
}

/// Scratch memory of the forward pass, used by one token after another.
pub struct Workspace {
    normed: Vec<f32>,
    /// What the layer's mixer reads: queries, keys and values, or a convolution's gates and input.
    pub(super) mixer_in: Vec<f32>,
    /// A row of the cache, for short convolutions.
    pub(super) seen: Vec<f32>,
    /// What the mixer writes.
    pub(super) attended: Vec<f32>,
    gate_up: Vec<f32>,
    projected: Vec<f32>,
    quantized_dim: Quantized,
    quantized_q: Quantized,
    quantized_ffn: Quantized,
    pub(super) scratch: Scratch,
    pub(super) rope: RopeTable,
    pub(super) rope_local: Option<RopeTable>,
    rope_position: Option<usize>,
    /// One logit for each token (padded to a multiple of four).
    pub logits: Vec<f32>,
    head: Option<HeadProgress>,
}

/// Returns how many row groups of the head run between two looks at the meter: about one layer's work.
fn head_piece_groups(c: &Config) -> usize {
    (c.layer_macs() as usize / (LANES * c.dim)).max(64)
}

fn rope_table(head_dim: usize, base: f64, scaling: &RopeScaling) -> RopeTable {
    RopeTable::new(
        scaling.frequencies(head_dim, base),
        scaling.magnitude as f32,
    )
}

impl Workspace {
    /// Returns scratch memory for a model.
    pub fn new(c: &Config) -> Self {
        let padded = |n: usize| n.next_multiple_of(LANES);
        // A convolution has two gates and its input, and looks at rows of the cache.
        let (mixer_in, seen) = match c.short_conv {
            Some(_) => (3 * c.dim, 2 * c.kv_shape().kv_heads * c.head_dim),
            None => (0, 0),
        };
        let mixer_in = mixer_in.max(c.q_dim() + 2 * c.kv_dim());
        Self {
            normed: vec![0.0; c.dim],
            mixer_in: vec![0.0; padded(mixer_in)],
            seen: vec![0.0; seen],
            attended: vec![0.0; c.q_dim()],
            gate_up: vec![0.0; padded(2 * c.ffn_dim)],
            projected: vec![0.0; padded(c.dim)],
            quantized_dim: Quantized::new(c.dim),
            quantized_q: Quantized::new(c.q_dim()),
            quantized_ffn: Quantized::new(c.ffn_dim),
            scratch: Scratch::new(c.head_dim),
            rope: rope_table(c.head_dim, c.rope_base, &c.rope),
            rope_local: c
                .sliding_window
                .map(|w| rope_table(c.head_dim, w.rope_base, &RopeScaling::NONE)),
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

/// What a forward pass works on.
#[derive(Debug, Clone, Copy)]
pub struct TokenInput {
    /// Whose token it is: results in the workspace belong to a generation.
    pub generation: u64,
    /// The number of tokens before it.
    pub position: usize,
    /// The token.
    pub token: u32,
}

impl Forward {
    /// Returns a pass at the start of a token.
    pub fn new() -> Self {
        Self::restore(Stage::Start, Vec::new())
    }

    /// Returns a pass that continues from what [`Self::stage`] and [`Self::residual`] returned.
    pub fn restore(stage: Stage, residual: Vec<f32>) -> Self {
        Self { stage, x: residual }
    }

    /// Returns where the pass stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns the residual stream `[dim]`. At [`Stage::Start`] it has no meaning.
    pub fn residual(&self) -> &[f32] {
        &self.x
    }

    /// Begins again, for the next token.
    pub fn restart(&mut self) {
        self.stage = Stage::Start;
    }

    /// Runs the layers until all are done (`true`) or the budget is used up (`false`).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] for the KV cache, [`Error::BudgetTooSmall`].
    pub fn run_layers(
        &mut self,
        model: &Model,
        ws: &mut Workspace,
        kv: &mut KvCache,
        input: TokenInput,
        budget: &mut InstructionBudget<'_>,
    ) -> Result<bool, Error> {
        let c = &model.config;
        let position = input.position;
        if self.stage == Stage::Start {
            kv.grow(position + 1)?;
            self.x.resize(c.dim, 0.0);
            embed(model, input.token, &mut self.x);
            self.stage = Stage::Layer(0);
        }
        while let Stage::Layer(l) = self.stage {
            let Some(layer) = model.layout.layers.get(l as usize) else {
                self.stage = Stage::Head;
                break;
            };
            kv.grow(position + 1)?;
            let units = layer_units(c, l as usize, position);
            let ran = budget.run(WorkKind::Layer, units, || {
                ws.set_position(model, position);
                run_layer(model, layer, l as usize, position, &mut self.x, ws, kv);
                Ok(())
            })?;
            if ran.is_none() {
                return Ok(false);
            }
            self.stage = Stage::Layer(l + 1);
        }
        Ok(true)
    }

    /// Runs the output head after the layers, until the logits are in the workspace (`true`) or the
    /// budget is used up (`false`). The stage stays [`Stage::Head`]: if the logits are lost, the head can
    /// run again.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`].
    pub fn run_head(
        &self,
        model: &Model,
        ws: &mut Workspace,
        input: TokenInput,
        budget: &mut InstructionBudget<'_>,
    ) -> Result<bool, Error> {
        run_head(model, &self.x, ws, input, budget)
    }
}

impl Default for Forward {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the estimated work of a layer: its multiply-accumulates, attention's and a little for the rest.
fn layer_units(c: &Config, layer: usize, position: usize) -> u64 {
    let seen = c
        .window(layer)
        .map_or(position + 1, |w| w.size.min(position + 1));
    let blocks = seen.div_ceil(crate::kernels::attention::BLOCK) + 1;
    let attention = 2 * (blocks * crate::kernels::attention::BLOCK * c.q_dim()) as u64;
    c.layer_macs() + attention + 20 * (c.dim + c.ffn_dim + c.q_dim()) as u64
}

/// Writes the embedding of `token` to `x`, from its packed row.
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

    // Attention or convolution.
    norm::rms_norm(
        x,
        model.vector(&layer.attention_norm),
        c.norm_eps,
        &mut ws.normed,
    );
    ws.quantized_dim.set(&ws.normed);
    let [input, output] = layer.mixer.matrices();
    model
        .matrix(input)
        .matvec(&ws.quantized_dim, 0..input.shape.groups(), &mut ws.mixer_in);
    match &layer.mixer {
        Mixer::Attention(a) => attention::run(model, a, index, position, ws, kv),
        Mixer::ShortConv(s) => short_conv::run(c, model.vector(&s.taps), index, position, ws, kv),
    }
    ws.quantized_q.set(&ws.attended);
    model
        .matrix(output)
        .matvec(&ws.quantized_q, 0..output.shape.groups(), &mut ws.projected);
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
        .matvec(&ws.quantized_dim, 0..gate_up.groups(), &mut ws.gate_up);
    let (gate, up) = ws.gate_up.split_at_mut(c.ffn_dim);
    activation::gate(c.family.activation, gate, &up[..c.ffn_dim]);
    ws.quantized_ffn.set(gate);
    let down = layer.down.shape;
    model
        .matrix(&layer.down)
        .matvec(&ws.quantized_ffn, 0..down.groups(), &mut ws.projected);
    let projected = &mut ws.projected[..c.dim];
    if let Some(post) = &layer.post_ffn_norm {
        norm::rms_norm_in_place(projected, model.vector(post), c.norm_eps);
    }
    norm::add(x, projected);
}

/// The output head, some of its rows at a time. The results wait in the workspace; if another generation
/// uses it meanwhile, the head begins again.
fn run_head(
    model: &Model,
    x: &[f32],
    ws: &mut Workspace,
    input: TokenInput,
    budget: &mut InstructionBudget<'_>,
) -> Result<bool, Error> {
    let c = &model.config;
    let TokenInput {
        generation,
        position,
        ..
    } = input;
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
        let ran = budget.run(WorkKind::Head, (n * LANES * c.dim) as u64, || {
            let out = &mut ws.logits[done * LANES..(done + n) * LANES];
            model
                .matrix(&model.layout.head)
                .matvec(&ws.quantized_dim, done..done + n, out);
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
