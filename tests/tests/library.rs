//! Several models in one canister: uploading beside one that answers, switching, rolling back,
//! deleting.

#[path = "library/plan.rs"]
mod plan;
#[path = "library/random.rs"]
mod random;
#[path = "library/support.rs"]
mod support;
#[path = "library/switch.rs"]
mod switch;
#[path = "library/uploads.rs"]
mod uploads;
