//! The loader: uploads that are interrupted, killed or meet a bad network, split models, and its
//! command line.

mod command_line;
mod figures;
mod kills;
mod proxy;
mod split;
mod uploads;
