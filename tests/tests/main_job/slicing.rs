//! However a generation is cut into messages, its tokens are the same.

use anyhow::Result;
use e2e::chats::{ask, chat, greedy, refusal, set_budget};
use interface::Error;
use oracle::native_run::Native;

const QUESTION: &str = "Name three colours.";
/// Enough for one layer and for what a round needs besides, not for two.
const ONE_LAYER: u64 = 11_500_000;
/// Not enough for one layer.
const TOO_SMALL: u64 = 5_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn any_budget_gives_the_same_tokens() -> Result<()> {
    let testbed = e2e::Testbed::start()?;
    let client = testbed.install_with_model().await?;
    let mut native = Native::load(&e2e::model()?)?;
    let question = native.chat(QUESTION)?;
    let expected = native.greedy(&question, 24)?;

    println!("budget          tokens  rounds  largest message");
    for (budget, tokens) in [
        (40_000_000_000, 24),
        (1_900_000_000, 24),
        (500_000_000, 24),
        (ONE_LAYER, 4),
    ] {
        set_budget(&client, budget).await?;
        let answer = ask(&client, chat(QUESTION), greedy(tokens as u32)).await?;
        println!(
            "{budget:14}  {:6}  {:6}  {:14}",
            answer.token_ids.len(),
            answer.rounds,
            answer.max_message_instructions
        );
        assert_eq!(
            answer.token_ids,
            expected[..tokens.min(expected.len())],
            "budget {budget}"
        );
        assert!(
            answer.max_message_instructions < budget,
            "a message passed its budget"
        );
        if budget == ONE_LAYER {
            let positions = (answer.prompt_tokens + answer.generated_tokens - 1) as usize;
            let layers = native.model.config.layers;
            assert!(
                answer.rounds as usize >= positions * layers,
                "more than one layer a message"
            );
        }
    }

    // Two at once share the rounds, and neither changes the other.
    set_budget(&client, 200_000_000).await?;
    let (a, b) = tokio::join!(
        ask(&client, chat(QUESTION), greedy(24)),
        ask(&client, chat("Count to five."), greedy(24)),
    );
    assert_eq!(a?.token_ids, expected);
    let other = native.chat("Count to five.")?;
    assert_eq!(b?.token_ids, native.greedy(&other, 24)?);

    // A budget too small for one layer ends the generation with an error that says what is needed.
    set_budget(&client, TOO_SMALL).await?;
    match refusal(
        ask(&client, chat(QUESTION), greedy(4))
            .await
            .map_err(downcast),
    )? {
        Error::BudgetTooSmall {
            round_instructions,
            needed,
        } => {
            assert_eq!(round_instructions, TOO_SMALL);
            assert!(needed > TOO_SMALL && needed < ONE_LAYER, "needed {needed}");
        }
        other => panic!("{other:?}"),
    }
    set_budget(&client, 1_900_000_000).await?;
    let answer = ask(&client, chat(QUESTION), greedy(8)).await?;
    assert_eq!(answer.token_ids, expected[..8]);
    Ok(())
}

fn downcast(e: anyhow::Error) -> loader::Error {
    e.downcast()
        .unwrap_or_else(|e| loader::Error::Unsupported(e.to_string()))
}
