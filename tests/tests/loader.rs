//! The loader: uploads that are interrupted or meet a bad network, and its command line.

#[path = "loader/command_line.rs"]
mod command_line;
#[path = "loader/proxy.rs"]
mod proxy;
#[path = "loader/uploads.rs"]
mod uploads;
