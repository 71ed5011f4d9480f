//! When to pause: work goes in pieces, and a piece begins only if the instructions left are more
//! than such a piece has been seen to need.

use crate::Error;

/// Counts the work done in this message.
pub trait Meter {
    /// Instructions used so far.
    fn used(&self) -> u64;
}

/// A meter that never moves: no pauses.
pub struct Unmetered;

impl Meter for Unmetered {
    fn used(&self) -> u64 {
        0
    }
}

/// Kinds of pieces, each with its own experience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Layer,
    Head,
    Sample,
}

/// What pieces have been seen to cost: instructions per unit of estimated work.
#[derive(Debug, Clone)]
pub struct Experience {
    ratio: [f64; 3],
}

impl Default for Experience {
    /// Before anything was seen: somewhat above what the kernels are built to cost.
    fn default() -> Self {
        Self {
            ratio: [0.9, 0.9, 40.0],
        }
    }
}

/// A seen cost is expected to come again with this much on top.
const MARGIN: f64 = 1.02;

/// One message's budget.
pub struct Pacer<'a> {
    meter: &'a dyn Meter,
    experience: &'a mut Experience,
    /// Instructions at which the message must be over.
    budget: u64,
    /// Instructions kept for what must follow the work in this message.
    reserve: u64,
    worked: bool,
}

impl<'a> Pacer<'a> {
    /// A message of `budget` instructions, `reserve` of which are kept back.
    pub fn new(
        meter: &'a dyn Meter,
        experience: &'a mut Experience,
        budget: u64,
        reserve: u64,
    ) -> Self {
        Self {
            meter,
            experience,
            budget,
            reserve,
            worked: false,
        }
    }

    /// Instructions used so far.
    pub fn used(&self) -> u64 {
        self.meter.used()
    }

    /// Keeps more instructions back.
    pub fn keep(&mut self, instructions: u64) {
        self.reserve += instructions;
    }

    /// Runs `work`, estimated at `units`, if the budget allows; else gives `None`.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`] if not even the first piece of the message is allowed.
    pub fn run<T>(
        &mut self,
        piece: Piece,
        units: u64,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let before = self.meter.used();
        let need = (units as f64 * self.experience.ratio[piece as usize]) as u64;
        let end = before.saturating_add(need).saturating_add(self.reserve);
        if end > self.budget {
            if self.worked {
                return Ok(None);
            }
            return Err(Error::BudgetTooSmall {
                budget: self.budget,
                needed: end,
            });
        }
        self.worked = true;
        let result = work()?;
        let seen = (self.meter.used() - before) as f64 / units.max(1) as f64 * MARGIN;
        let ratio = &mut self.experience.ratio[piece as usize];
        *ratio = ratio.max(seen);
        Ok(Some(result))
    }
}
