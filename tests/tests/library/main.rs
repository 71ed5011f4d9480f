//! Several models in one canister: uploading beside one that answers, switching, rolling back,
//! deleting.

mod plan;
mod random;
mod support;
mod switch;
mod uploads;
