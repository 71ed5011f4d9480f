//! The loader: uploads that are interrupted, killed or meet a bad network, split models, and its
//! command line.

#[path = "loader/command_line.rs"]
mod command_line;
#[path = "loader/figures.rs"]
mod figures;
#[path = "loader/kills.rs"]
mod kills;
#[path = "loader/proxy.rs"]
mod proxy;
#[path = "loader/split.rs"]
mod split;
#[path = "loader/uploads.rs"]
mod uploads;
