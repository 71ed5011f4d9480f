//! Following a generation: its text while it is generated on chain.

use crate::retry::retry;
use crate::{Client, Error, Result};
use interface::{Generation, GenerationState};
use std::time::Duration;

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1000);

/// A generation that has ended: `text` and `token_ids` are complete.
pub type Finished = Generation;

/// Reads a generation until it ends. `news` gets each reply, in which `text` and `token_ids` are only what
/// is new. Returns the whole generation.
///
/// # Errors
/// [`Error::Canister`] with the error that the generation ended with, and errors of the calls.
pub async fn follow(
    client: &Client,
    id: u64,
    mut news: impl FnMut(&Generation),
) -> Result<Finished> {
    let (mut text, mut token_ids) = (String::new(), Vec::new());
    let (mut from_byte, mut from_token) = (0, 0);
    let mut prompt_done = 0;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let look = retry(|_| (), || client.generation(id, from_byte, from_token)).await?;
        news(&look);
        let moved = look.next_token != from_token
            || look.next_byte != from_byte
            || look.prompt_tokens_done != prompt_done;
        (from_byte, from_token) = (look.next_byte, look.next_token);
        prompt_done = look.prompt_tokens_done;
        text.push_str(&look.text);
        token_ids.extend_from_slice(&look.token_ids);
        match look.state {
            GenerationState::Failed(error) => return Err(Error::Canister(error)),
            GenerationState::Finished(_) => {
                return Ok(Finished {
                    text,
                    token_ids,
                    ..look
                });
            }
            GenerationState::Waiting
            | GenerationState::Prefilling
            | GenerationState::Generating => {}
        }
        // Queries are rare while nothing happens and frequent while text streams.
        pause = if moved {
            SHORTEST_PAUSE
        } else {
            (pause * 3 / 2).min(LONGEST_PAUSE)
        };
        tokio::time::sleep(pause).await;
    }
}
