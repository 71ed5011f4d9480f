//! The command line of the LLM canister.

mod arguments;
mod chat;
mod commands;
mod display;
mod library;
mod numbers;
mod verify;

use arguments::Arguments;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read();
    let json = arguments.global.json;
    match commands::run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            display::error(&error, json);
            ExitCode::FAILURE
        }
    }
}
