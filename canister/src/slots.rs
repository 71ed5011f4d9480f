//! Which slots of the KV region are free. Known from the records alone: nothing of it is stored.

/// Slots in use and free ones below the highest in use.
#[derive(Default)]
pub struct Slots {
    used: Vec<bool>,
}

impl Slots {
    /// Marks slots as used (when the records are read).
    pub fn take(&mut self, slots: &[u32]) {
        for s in slots {
            let s = *s as usize;
            if self.used.len() <= s {
                self.used.resize(s + 1, false);
            }
            self.used[s] = true;
        }
    }

    /// The lowest free slot, now used.
    pub fn allocate(&mut self) -> u32 {
        let slot = self.used.iter().position(|u| !u).unwrap_or(self.used.len());
        self.take(&[slot as u32]);
        slot as u32
    }

    /// Gives slots back.
    pub fn free(&mut self, slots: &[u32]) {
        for s in slots {
            if let Some(u) = self.used.get_mut(*s as usize) {
                *u = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_slots_are_used_again() {
        let mut s = Slots::default();
        s.take(&[1]);
        assert_eq!([s.allocate(), s.allocate(), s.allocate()], [0, 2, 3]);
        s.free(&[2, 0]);
        assert_eq!([s.allocate(), s.allocate(), s.allocate()], [0, 2, 4]);
    }
}
