//! What a generation cost, in instructions and cycles.

use crate::generate::Finished;
use interface::{FileInfo, Finish, GenerationState, prices};
use serde::Serialize;

/// A finished generation in figures; serialises to the object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Id of the generation.
    pub id: u64,
    /// Name of the model's file.
    pub model: String,
    /// SHA-256 of the model's file (lower-case hexadecimal).
    pub model_sha256: String,
    /// Why it ended.
    pub finish: Option<Finish>,
    /// Seed of its random numbers.
    pub seed: u64,
    /// Length of the prompt (tokens).
    pub prompt_tokens: u32,
    /// Prompt tokens that were in the cache.
    pub cached_tokens: u32,
    /// Length of the answer (tokens).
    pub generated_tokens: u32,
    /// The answer.
    pub text: String,
    /// The answer's tokens.
    pub token_ids: Vec<u32>,
    /// Slices, each a message in a round of its own.
    pub rounds: u32,
    /// Most instructions of one message.
    pub max_message_instructions: u64,
    /// Instructions of a prompt token that was not in the cache.
    pub instructions_per_prompt_token: u64,
    /// Instructions of a generated token.
    pub instructions_per_generated_token: u64,
    /// Price of the whole generation on a 13-node subnet.
    pub cycles: u64,
    /// Price of a million generated tokens at this rate; `None` if none was generated.
    pub cycles_per_million_tokens: Option<u64>,
    /// Duration of the whole, measured here.
    pub seconds: f64,
}

impl Report {
    /// Computes the figures of a generation that took `seconds` seconds.
    pub fn new(generation: Finished, model: Option<&FileInfo>, seconds: f64) -> Self {
        let per = |total: u64, count: u32| total / u64::from(count.max(1));
        let instructions = generation.prompt_instructions + generation.generate_instructions;
        let cycles = prices::execution(generation.rounds.into(), instructions);
        // The price of the messages belongs to prompt and answer as their instructions do.
        let share = generation.generate_instructions as f64 / instructions.max(1) as f64;
        let tokens = generation.generated_tokens;
        let per_million = share * cycles as f64 / f64::from(tokens.max(1)) * 1e6;
        Self {
            id: generation.id,
            model: model.map_or_else(String::new, |file| file.name.clone()),
            model_sha256: model.map_or_else(String::new, |file| hex::encode(&file.sha256)),
            finish: match generation.state {
                GenerationState::Finished(finish) => Some(finish),
                _ => None,
            },
            seed: generation.seed,
            prompt_tokens: generation.prompt_tokens,
            cached_tokens: generation.cached_tokens,
            generated_tokens: tokens,
            rounds: generation.rounds,
            max_message_instructions: generation.max_message_instructions,
            instructions_per_prompt_token: per(
                generation.prompt_instructions,
                generation.prompt_tokens - generation.cached_tokens.min(generation.prompt_tokens),
            ),
            instructions_per_generated_token: per(generation.generate_instructions, tokens),
            cycles,
            cycles_per_million_tokens: (tokens > 0).then_some(per_million as u64),
            seconds,
            text: generation.text,
            token_ids: generation.token_ids,
        }
    }

    /// Returns the figures as lines of a name and a value, for people.
    pub fn table(&self) -> String {
        let million = self.cycles_per_million_tokens.map_or_else(
            || "-".into(),
            |cycles| format!("{} T cycles", decimals(cycles, 12)),
        );
        let rows = [
            ("prompt tokens", self.prompt_tokens.to_string()),
            ("generated tokens", self.generated_tokens.to_string()),
            ("rounds", self.rounds.to_string()),
            (
                "instructions per prompt token",
                grouped(self.instructions_per_prompt_token),
            ),
            (
                "instructions per generated token",
                grouped(self.instructions_per_generated_token),
            ),
            (
                "largest message (instructions)",
                grouped(self.max_message_instructions),
            ),
            ("cycles (13-node subnet)", grouped(self.cycles)),
            ("1 million generated tokens", million),
            ("seconds", format!("{:.1}", self.seconds)),
        ];
        let left = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
        let right = rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
        rows.map(|(name, value)| format!("{name:left$}  {value:>right$}\n"))
            .concat()
    }
}

/// Returns `1234567` as `1,234,567`.
pub fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number in units of 10^`power`, with two decimals.
fn decimals(number: u64, power: u32) -> String {
    format!("{:.2}", number as f64 / 10f64.powi(power as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished() -> Finished {
        Finished {
            id: 7,
            state: GenerationState::Finished(Finish::EndOfText),
            text: "Hi".into(),
            token_ids: vec![1, 2, 3, 4],
            next_byte: 2,
            next_token: 4,
            prompt_tokens: 10,
            prompt_tokens_done: 10,
            generated_tokens: 4,
            seed: 0,
            rounds: 3,
            prompt_instructions: 1_000_000_000,
            generate_instructions: 500_000_000,
            max_message_instructions: 900_000_000,
            cached_tokens: 0,
            chat: None,
            queue: None,
            recent_rounds: Vec::new(),
            model_sha256: Default::default(),
        }
    }

    #[test]
    fn figures_follow_from_the_counts() {
        let report = Report::new(finished(), None, 1.0);
        assert_eq!(report.instructions_per_prompt_token, 100_000_000);
        assert_eq!(report.instructions_per_generated_token, 125_000_000);
        assert_eq!(report.cycles, 1_500_000_000 + 3 * 5_000_000);
        // A third of the cycles for four tokens.
        assert_eq!(report.cycles_per_million_tokens, Some(126_250_000_000_000));
        assert!(report.table().contains("1,515,000,000"));
        assert!(report.table().contains("126.25 T cycles"));
    }

    #[test]
    fn nothing_generated_divides_by_nothing() {
        let none = Finished {
            generated_tokens: 0,
            generate_instructions: 0,
            ..finished()
        };
        let report = Report::new(none, None, 1.0);
        assert_eq!(report.instructions_per_generated_token, 0);
        assert_eq!(report.cycles_per_million_tokens, None);
    }

    #[test]
    fn json_has_the_promised_fields() {
        let value = serde_json::to_value(Report::new(finished(), None, 1.0)).unwrap();
        for field in [
            "model_sha256",
            "prompt_tokens",
            "generated_tokens",
            "text",
            "token_ids",
            "rounds",
            "max_message_instructions",
            "instructions_per_prompt_token",
            "instructions_per_generated_token",
            "cycles",
        ] {
            assert!(value.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0u64), "0");
        assert_eq!(grouped(999u64), "999");
        assert_eq!(grouped(1_000u32), "1,000");
        assert_eq!(grouped(1_234_567u128), "1,234,567");
    }
}
