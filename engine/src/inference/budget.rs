//! When to pause: work is done in pieces, and a piece begins only if more instructions are left than such
//! a piece has cost before.

use crate::Error;

/// Counts the work done in this message.
pub trait Meter {
    /// Returns the instructions used so far.
    fn used(&self) -> u64;
}

/// A meter that never moves: no pauses.
pub struct Unmetered;

impl Meter for Unmetered {
    fn used(&self) -> u64 {
        0
    }
}

/// Kinds of work, each with its own cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// A layer of a token.
    Layer,
    /// Rows of the output head.
    Head,
    /// Sampling a token.
    Sample,
}

/// What work has cost so far, at most.
#[derive(Debug, Clone)]
pub struct CostModel {
    /// Instructions for each unit of estimated work, by [`WorkKind`].
    ratio: [f64; 3],
}

impl Default for CostModel {
    /// Before anything was measured: somewhat above what the kernels are built to cost.
    fn default() -> Self {
        Self {
            ratio: [0.9, 0.9, 40.0],
        }
    }
}

/// Safety margin on measured costs.
const MARGIN: f64 = 1.02;

/// The instructions that one message may use.
///
/// ```
/// use engine::inference::budget::{CostModel, InstructionBudget, Unmetered, WorkKind};
/// let mut costs = CostModel::default();
/// let mut budget = InstructionBudget::new(&Unmetered, &mut costs, 1_900_000_000, 0);
/// let ran = budget.run(WorkKind::Layer, 1_000, || Ok(42))?;
/// assert_eq!(ran, Some(42));
/// // More than the message has left: pause.
/// let ran = budget.run(WorkKind::Layer, 1 << 40, || Ok(42))?;
/// assert_eq!(ran, None);
/// # Ok::<(), engine::Error>(())
/// ```
pub struct InstructionBudget<'a> {
    meter: &'a dyn Meter,
    costs: &'a mut CostModel,
    /// Instructions at which the message must end.
    limit: u64,
    /// Instructions kept for what must follow the work in this message.
    reserve: u64,
    worked: bool,
}

impl<'a> InstructionBudget<'a> {
    /// Returns the budget of a message of `limit` instructions, `reserve` of which are kept back.
    pub fn new(meter: &'a dyn Meter, costs: &'a mut CostModel, limit: u64, reserve: u64) -> Self {
        Self {
            meter,
            costs,
            limit,
            reserve,
            worked: false,
        }
    }

    /// Returns the instructions used so far.
    pub fn used(&self) -> u64 {
        self.meter.used()
    }

    /// Keeps more instructions back.
    pub fn reserve(&mut self, instructions: u64) {
        self.reserve += instructions;
    }

    /// Runs `work`, estimated at `units`, and returns its result; `None` if the budget does not allow it.
    ///
    /// # Errors
    /// Those of `work`; [`Error::BudgetTooSmall`] if not even the first piece of the message is allowed.
    pub fn run<T>(
        &mut self,
        kind: WorkKind,
        units: u64,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let before = self.meter.used();
        let need = (units as f64 * self.costs.ratio[kind as usize]) as u64;
        let end = before.saturating_add(need).saturating_add(self.reserve);
        if end > self.limit {
            if self.worked {
                return Ok(None);
            }
            return Err(Error::BudgetTooSmall {
                budget: self.limit,
                needed: end,
            });
        }
        self.worked = true;
        let result = work()?;
        let seen = (self.meter.used() - before) as f64 / units.max(1) as f64 * MARGIN;
        let ratio = &mut self.costs.ratio[kind as usize];
        *ratio = ratio.max(seen);
        Ok(Some(result))
    }
}
