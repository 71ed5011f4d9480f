//! The main job: a real model, uploaded in shards, answers on chain; any slicing, any upgrade gives
//! the same tokens; bad input gets a typed error and nothing is lost.

#[path = "main_job/agreement.rs"]
mod agreement;
#[path = "main_job/refusals.rs"]
mod refusals;
#[path = "main_job/slicing.rs"]
mod slicing;
#[path = "main_job/tokenizer.rs"]
mod tokenizer;
#[path = "main_job/upgrades.rs"]
mod upgrades;
