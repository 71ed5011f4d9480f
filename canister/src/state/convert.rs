//! Stored types to types of the public interface, and back. Every field is named, so that a change of
//! either side does not go unnoticed.

use crate::stable::records;
use serde_bytes::ByteBuf;

/// Converts between two enums without data, variant by variant, in both directions.
macro_rules! same_variants {
    ($stored:ty, $public:ty: $($variant:ident),*) => {
        impl From<$stored> for $public {
            fn from(value: $stored) -> Self {
                match value {
                    $(<$stored>::$variant => Self::$variant,)*
                }
            }
        }

        impl From<$public> for $stored {
            fn from(value: $public) -> Self {
                match value {
                    $(<$public>::$variant => Self::$variant,)*
                }
            }
        }
    };
}

same_variants!(records::Access, interface::Access: Controllers, AllowList, SignedIn, Anyone);
same_variants!(records::Role, interface::Role: Ordinary, Allowed, Banned);
same_variants!(records::LogLevel, interface::LogLevel: Info, Warning, Error);
same_variants!(records::Finish, interface::Finish: EndOfText, MaxTokens, Stop, ContextFull);
same_variants!(records::Overflow, interface::Overflow: Error, Slide);

/// Converts between two structs with the same fields, in both directions.
macro_rules! same_fields {
    ($stored:ident, $public:ident: $($field:ident),*) => {
        impl From<$stored> for $public {
            fn from(value: $stored) -> Self {
                let $stored { $($field),* } = value;
                Self { $($field: $field.into()),* }
            }
        }

        impl From<$public> for $stored {
            fn from(value: $public) -> Self {
                let $public { $($field),* } = value;
                Self { $($field: $field.into()),* }
            }
        }
    };
}

use interface::{Config as PublicConfig, ModelInfo as PublicInfo, RoundFigures};
use records::{Config, ModelInfo, SliceFigures};

same_fields!(Config, PublicConfig:
    round_instructions, max_context_tokens, max_generations, max_output_tokens, access,
    tokens_per_day, tokens_in_flight, generations_per_caller, chats_per_caller, controller_weight,
    max_kv_bytes, max_stable_bytes, min_cycles, cycles_per_million_tokens);
same_fields!(ModelInfo, PublicInfo:
    architecture, parameters, layers, context_length, vocabulary, packed_bytes, block_bytes,
    verify_instructions, prepare_instructions, restore_instructions);
same_fields!(SliceFigures, RoundFigures: instructions, budget, tokens);

impl From<records::Totals> for interface::Totals {
    fn from(t: records::Totals) -> Self {
        Self {
            prompt_tokens: t.prompt_tokens,
            cached_tokens: t.cached_tokens,
            generated_tokens: t.generated_tokens,
            prompt_instructions: t.prompt_instructions,
            generate_instructions: t.generate_instructions,
            model_instructions: t.model_instructions,
            overhead_instructions: t.overhead_instructions,
            generations_finished: t.generations_finished,
            generations_failed: t.generations_failed,
            rounds_lost: t.slices_lost,
            evictions: t.evictions,
        }
    }
}

macro_rules! errors {
    ($from:ident => $to:ty, $blob:path; $($text:ident)*) => {
        impl From<$from::Error> for $to {
            fn from(e: $from::Error) -> Self {
                use $from::Error as E;
                match e {
                    $(E::$text(text) => Self::$text(text),)*
                    E::WrongPhase { phase, hint } => Self::WrongPhase { phase, hint },
                    E::WrongChunk { index, reason } => Self::WrongChunk { index, reason },
                    E::MissingChunks { first, count } => Self::MissingChunks { first, count },
                    E::HashMismatch { expected, actual } => Self::HashMismatch {
                        expected: $blob(expected),
                        actual: $blob(actual),
                    },
                    E::PromptTooLong {
                        prompt_tokens,
                        max_prompt_tokens,
                    } => Self::PromptTooLong {
                        prompt_tokens,
                        max_prompt_tokens,
                    },
                    E::BudgetTooSmall {
                        round_instructions,
                        needed,
                    } => Self::BudgetTooSmall {
                        round_instructions,
                        needed,
                    },
                    E::Cancelled => Self::Cancelled,
                    E::Stopping { id } => Self::Stopping { id },
                    E::QuotaExceeded {
                        what,
                        limit,
                        used,
                        resets_ns,
                    } => Self::QuotaExceeded {
                        what,
                        limit,
                        used,
                        resets_ns,
                    },
                    E::PaymentRequired { required, attached } => {
                        Self::PaymentRequired { required, attached }
                    }
                }
            }
        }
    };
}

errors!(interface => records::Error, ByteBuf::into_vec;
    Unauthorized InvalidArgument NotFound InvalidModel UnsupportedModel Busy OutOfMemory RoundFailed
    LowCycles);
errors!(records => interface::Error, ByteBuf::from;
    Unauthorized InvalidArgument NotFound InvalidModel UnsupportedModel Busy OutOfMemory RoundFailed
    LowCycles);

/// Returns the error of the interface for one of the engine.
pub(crate) fn engine_error(e: engine::Error) -> interface::Error {
    use interface::Error as E;
    match e {
        engine::Error::Weights(weights::Error::Unsupported(m)) => E::UnsupportedModel(m),
        engine::Error::Weights(e) => E::InvalidModel(e.to_string()),
        engine::Error::OutOfMemory { .. } => E::OutOfMemory(e.to_string()),
        engine::Error::PromptTooLong {
            prompt_tokens,
            max_prompt_tokens,
        } => E::PromptTooLong {
            prompt_tokens: prompt_tokens as u32,
            max_prompt_tokens: max_prompt_tokens as u32,
        },
        engine::Error::InvalidArgument(m) => E::InvalidArgument(m),
        engine::Error::BudgetTooSmall { budget, needed } => E::BudgetTooSmall {
            round_instructions: budget,
            needed,
        },
    }
}

/// Returns the state of a generation that has ended so.
pub(crate) fn end_state(
    end: Result<records::Finish, records::Error>,
) -> interface::GenerationState {
    match end {
        Ok(finish) => interface::GenerationState::Finished(finish.into()),
        Err(e) => interface::GenerationState::Failed(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_errors_come_back_as_they_were() {
        let config = PublicConfig {
            access: interface::Access::SignedIn,
            min_cycles: 7,
            ..PublicConfig::default()
        };
        assert_eq!(PublicConfig::from(Config::from(config.clone())), config);
        let errors = [
            interface::Error::HashMismatch {
                expected: ByteBuf::from([1; 32]),
                actual: ByteBuf::from([2; 32]),
            },
            interface::Error::PaymentRequired {
                required: 1 << 70,
                attached: 3,
            },
            interface::Error::Cancelled,
        ];
        for error in errors {
            assert_eq!(
                interface::Error::from(records::Error::from(error.clone())),
                error
            );
        }
    }
}
