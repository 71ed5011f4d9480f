//! The HTTP front as its clients see it: the Rust agent, browsers' pages, programs that send
//! nonsense, and the npm programs.

mod agent;
mod clients;
mod gateway;
mod hostile;
mod load;
mod process;
mod support;
