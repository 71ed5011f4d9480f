//! The chat page in a real browser: Playwright drives Chromium against the canister with the real
//! model on a local replica. Screenshots of every state are left in `target/screenshots`.
//!
//! `CHROMIUM` names another browser than `/usr/bin/chromium`; `PLAYWRIGHT_ARGS` is passed on.

mod assets;
mod browser;
