//! How many chunks are in flight at the same time: as many as make the upload faster, fewer when calls fail.

use std::time::Instant;

/// Most chunks in flight: their memory stays below 64 MB.
const MOST: usize = 32;
const FIRST: usize = 4;
/// A larger window is kept if the rate grows by this factor.
const GAIN: f64 = 1.05;
/// Number of windows after which a larger one is tried again.
const AGAIN: u32 = 16;

/// The window of an upload.
#[derive(Debug)]
pub(crate) struct Window {
    size: usize,
    fixed: bool,
    /// Rate of the last window that was faster than those before (bytes per second).
    best: f64,
    began: Instant,
    bytes: u64,
    chunks: usize,
    /// Number of windows since the size changed.
    since: u32,
}

impl Window {
    /// A window of always `fixed` chunks; `None`: of as many as make the upload faster.
    pub(crate) fn new(fixed: Option<usize>) -> Self {
        Self {
            size: fixed.map_or(FIRST, |n| n.max(1)),
            fixed: fixed.is_some(),
            best: 0.0,
            began: Instant::now(),
            bytes: 0,
            chunks: 0,
            since: 0,
        }
    }

    /// Returns how many chunks may be in flight now.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Notes that a chunk has arrived.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.chunks += 1;
        if !self.fixed && self.chunks >= 2 * self.size {
            let seconds = self.began.elapsed().as_secs_f64();
            self.end(self.bytes as f64 / seconds.max(1e-6));
        }
    }

    fn end(&mut self, rate: f64) {
        self.since += 1;
        if rate > self.best * GAIN || self.since >= AGAIN {
            self.best = rate;
            self.resize((self.size * 3).div_ceil(2).min(MOST));
        }
        self.begin();
    }

    /// Notes that a chunk has failed and is tried again.
    pub(crate) fn failed(&mut self) {
        if !self.fixed {
            self.best = 0.0;
            self.resize((self.size / 2).max(1));
            self.begin();
        }
    }

    fn resize(&mut self, size: usize) {
        self.size = size;
        self.since = 0;
    }

    fn begin(&mut self) {
        self.began = Instant::now();
        self.bytes = 0;
        self.chunks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_that_is_faster_and_shrinks_on_failures() {
        let mut w = Window::new(None);
        w.end(100.0);
        w.end(150.0);
        let grown = w.size();
        assert!(grown > FIRST);
        // No faster: it stays.
        w.end(151.0);
        assert_eq!(w.size(), grown);
        w.failed();
        assert_eq!(w.size(), grown / 2);
        for _ in 0..10 {
            w.failed();
        }
        assert_eq!(w.size(), 1);
        for rate in 1..100 {
            w.end(f64::from(rate) * 1000.0);
        }
        assert_eq!(w.size(), MOST);
    }

    #[test]
    fn a_fixed_one_stays() {
        let mut w = Window::new(Some(3));
        for _ in 0..100 {
            w.sent(10);
        }
        w.failed();
        assert_eq!(w.size(), 3);
    }
}
