//! The main job: a real model, uploaded in shards, answers on chain; any slicing, any upgrade gives
//! the same tokens; bad input gets a typed error and nothing is lost.

mod agreement;
mod refusals;
mod slicing;
mod tokenizer;
mod upgrades;
