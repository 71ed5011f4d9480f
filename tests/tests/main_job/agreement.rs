//! The canister against candle-transformers on the same file.

use anyhow::Result;
use e2e::chats::{ask, chat, greedy, prompt};
use oracle::agreement::{Agreement, margin, top};
use oracle::native_run::Native;
use oracle::reference::Reference;

/// Texts of different kinds; the first is asked as a chat, the others are continued.
const TEXTS: [(&str, &str); 5] = [
    ("chat", include_str!("../../data/texts/chat.txt")),
    ("plain", include_str!("../../data/texts/plain.txt")),
    ("code", include_str!("../../data/texts/code.txt")),
    ("french", include_str!("../../data/texts/french.txt")),
    ("long", include_str!("../../data/texts/long.txt")),
];
const GENERATED: u32 = 64;
/// Where the reference's two best tokens are closer than this, either may come.
const CLOSE: f32 = 0.3;

/// Teacher-forced over each text, the engine's logits are candle's; and the canister's greedy
/// continuation of each is the engine's bit for bit, and candle's as long as its choice is clear.
#[tokio::test(flavor = "multi_thread")]
async fn five_texts_agree_with_candle() -> Result<()> {
    let path = e2e::model()?;
    let client = e2e::shared().await?;
    let mut native = Native::load(&path)?;
    let mut reference = Reference::load(&path)?;
    let mut all = Agreement::default();
    println!(
        "text       tokens   top-1      mean KL  perplexity (candle's)  greedy tokens as candle's"
    );
    for (name, text) in TEXTS {
        let text = text.trim_end();
        let (mut tokens, input) = match name {
            "chat" => (native.chat(text)?, chat(text)),
            _ => (native.tokenizer.encode_plain(text)?, prompt(text)),
        };
        let answer = ask(&client, input, greedy(GENERATED)).await?;
        assert_eq!(answer.prompt_tokens as usize, tokens.len());
        assert_eq!(
            answer.token_ids,
            native.greedy(&tokens, GENERATED as usize)?,
            "{name}"
        );

        let given = tokens.len();
        tokens.extend(&answer.token_ids);
        let mut one = Agreement::default();
        let mut first_difference = None;
        for (position, token) in tokens[..tokens.len() - 1].iter().enumerate() {
            let expected = reference.logits(*token, position)?;
            let next = tokens[position + 1];
            if position < given {
                let ours = native.logits(*token, position)?;
                one.add(ours, &expected, next);
                all.add(ours, &expected, next);
            }
            if position + 1 >= given && top(&expected) != next as usize {
                first_difference.get_or_insert((position + 1 - given, margin(&expected)));
            }
        }
        let same = first_difference.map_or(answer.token_ids.len(), |d| d.0);
        println!(
            "{name:8} {:8} {:6.2} %  {:.8}  {:.4} ({:.4})  {same} of {}{}",
            one.positions,
            100.0 * one.top1(),
            one.mean_kl(),
            one.perplexity(),
            one.reference_perplexity(),
            answer.token_ids.len(),
            first_difference.map_or(String::new(), |d| format!(", then a margin of {:.3}", d.1)),
        );
        if let Some((at, margin)) = first_difference {
            assert!(
                margin < CLOSE,
                "{name}: token {at} differs though candle's margin is {margin}"
            );
        }
    }
    println!(
        "all      {:8} {:6.2} %  {:.8}",
        all.positions,
        100.0 * all.top1(),
        all.mean_kl()
    );
    assert!(all.top1() >= 0.98, "top-1 agreement {}", all.top1());
    assert!(
        all.mean_kl() <= 0.01,
        "mean KL divergence {}",
        all.mean_kl()
    );
    Ok(())
}
