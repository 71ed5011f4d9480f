//! An upgrade at any moment loses nothing: the generation goes on by itself with the same tokens.

use anyhow::Result;
use e2e::chats::{greedy, prompt, refusal, set_budget, until, until_ready};
use e2e::network::Setup;
use interface::{Error, Generation, GenerationState};
use loader::generate::follow;
use loader::management::{self, Mode};
use oracle::native_run::Native;
use std::time::Duration;

/// Long enough to be read in several consensus rounds: each takes in messages of two billion
/// instructions together. Its first paragraph is enough where only tokens are waited for.
const TEXT: &str = include_str!("../../data/texts/long.txt");
const TOKENS: u32 = 90;
/// A few layers a message: every pause is inside a token.
const INSIDE: u64 = 40_000_000;
/// A few tokens a message.
const BETWEEN: u64 = 400_000_000;

/// The moments: a name, the paragraphs of the text that are read, the budget of a round, and how to
/// know that it has come.
type Moment = (&'static str, usize, u64, fn(&Generation) -> bool);

const MOMENTS: [Moment; 3] = [
    ("prompt half read", usize::MAX, BETWEEN, |g| {
        g.prompt_tokens_done > 4 && g.prompt_tokens_done < g.prompt_tokens
    }),
    ("between tokens", 1, BETWEEN, |g| {
        matches!(g.state, GenerationState::Generating) && g.generated_tokens > 4
    }),
    ("inside a token", 1, INSIDE, |g| {
        matches!(g.state, GenerationState::Generating) && g.generated_tokens > 2
    }),
];

/// Rounds with a pause between them, so that every moment can be seen from outside.
fn with_pauses() -> Result<e2e::Testbed> {
    e2e::Testbed::start_with(&Setup {
        round_interval: Duration::from_millis(60),
        ..Default::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_at_any_moment_keep_the_tokens() -> Result<()> {
    let testbed = with_pauses()?;
    let client = testbed.install_with_model().await?;
    let network = client.network().clone();
    let canister = client.canister();
    let mut native = Native::load(&e2e::model()?)?;
    let code = e2e::wasm()?;
    let other_build = e2e::tagged(&code, "another build");

    println!("moment             stopped  build    restore instructions");
    for (moment, paragraphs, budget, reached) in MOMENTS {
        let text: Vec<&str> = TEXT.trim_end().split("\n\n").take(paragraphs).collect();
        let text = text.join("\n\n");
        let question = native.tokenizer.encode_plain(&text)?;
        let expected = native.greedy(&question, TOKENS as usize)?;
        for stopped in [false, true] {
            for (build, module) in [("same", &code), ("other", &other_build)] {
                set_budget(&client, budget).await?;
                let started = client.generate(prompt(&text), greedy(TOKENS)).await?;
                let seen = until(&client, started.id, reached).await?;
                if stopped {
                    management::stop(&network, canister).await?;
                }
                management::install(&network, canister, module, Mode::Upgrade).await?;
                if stopped {
                    management::start(&network, canister).await?;
                }
                let answer = follow(&client, started.id, |_| ()).await?;
                until_ready(&client).await?;
                let info = client.status().await?.model.info;
                println!(
                    "{moment:18} {stopped:7}  {build:6}  {:15}",
                    info.map_or(0, |i| i.restore_instructions)
                );
                assert!(
                    seen.generated_tokens < answer.generated_tokens,
                    "it was over before"
                );
                assert_eq!(
                    answer.token_ids, expected,
                    "{moment}, stopped {stopped}, {build}"
                );
            }
        }
    }
    Ok(())
}

/// Somebody waits in `prompt` while the canister is stopped: stopping does not wait for the answer, the
/// caller gets the generation's id, and the generation goes on after the start.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_a_long_answer() -> Result<()> {
    let testbed = with_pauses()?;
    let client = testbed.install_with_model().await?;
    let network = client.network().clone();
    let canister = client.canister();

    let question = format!("{TEXT} What happens next? Tell me at length.");
    let waiting = client.prompt(&question);
    let stop = async {
        while client.status().await?.generations_running == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        until(&client, 1, |g| g.prompt_tokens_done > 4).await?;
        management::stop(&network, canister).await?;
        anyhow::Ok(())
    };
    let (answer, stopped) = tokio::join!(waiting, stop);
    stopped?;
    match refusal(answer)? {
        Error::Stopping { id } => assert_eq!(id, 1),
        other => panic!("{other:?}"),
    }
    management::start(&network, canister).await?;
    let answer = follow(&client, 1, |_| ()).await?;
    assert!(answer.generated_tokens > 0);
    Ok(())
}
