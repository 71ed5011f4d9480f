//! A slice of a conversion of stable memory from an older layout to this one, and what an upgrade makes
//! stale. Until everything is converted nothing is generated; what is there can be read.
//!
//! Every value says its own version ([`crate::stable::codec`]), so that old and new ones may lie side
//! by side. Layout 1 is the first: there is no older layout yet.

use crate::runtime;
use crate::stable::ids::GenerationId;
use crate::stable::records::{LAYOUT, LogLevel, ModelStage};
use crate::state::State;

/// After an upgrade: weights that another engine has packed are packed again from the model's file, and
/// KV blocks that it has filled are freed, to be computed again from the tokens.
pub(super) fn invalidate_stale_artifacts(state: &mut State) {
    if state.control.engine == engine::VERSION {
        return;
    }
    state.control.engine = engine::VERSION;
    for slot in state.models.slots() {
        state.models.edit(slot, |model| {
            if matches!(model.stage, ModelStage::Ready | ModelStage::Preparing) {
                model.stage = ModelStage::Preparing;
                model.prepared = 0;
                model.info.prepare_instructions = 0;
            }
        });
        state.pools.reset(slot);
    }
    state.chats.forget_cached();
}

/// Converts generations until half of `budget` is used: they are read in the version that they have,
/// and put back in today's.
pub(super) fn run(state: &mut State, budget: u64) {
    loop {
        let next = GenerationId(state.control.migrated.0 + 1);
        let Some(record) = state.generations.range(next..).next().map(|e| e.value()) else {
            break;
        };
        state.control.migrated = record.id;
        state.put_generation(record);
        if runtime::instructions() > budget / 2 {
            return;
        }
    }
    let from = state.control.layout;
    state.control.layout = LAYOUT;
    state.control.migrated = GenerationId(0);
    let text = format!("stable memory was converted from layout {from} to {LAYOUT}");
    state.log.add(LogLevel::Info, None, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stable::codec;
    use crate::stable::records::GenerationRecord;
    use crate::stable::records::test_generation;
    use crate::state::check_migrated;
    use candid::Principal;

    #[test]
    fn an_older_layout_is_converted_in_slices_and_can_be_read_meanwhile() {
        let mut state = State::open();
        for id in 1..=5 {
            state.put_generation(test_generation(id, Principal::anonymous()));
        }
        state.control.layout = 0;
        runtime::set(|s| s.instructions_per_look = 10);
        let mut slices = 0;
        while state.control.layout != LAYOUT {
            assert!(check_migrated(&state.control).is_err());
            assert_eq!(state.generations.len(), 5);
            runtime::set(|s| s.instructions = 0);
            run(&mut state, 30);
            slices += 1;
        }
        assert!(slices > 1, "it took {slices} slices");
        assert!(check_migrated(&state.control).is_ok());
        let (_, line) = state.log.read(0).pop().unwrap();
        assert_eq!(line.text, "stable memory was converted from layout 0 to 1");
    }

    #[test]
    fn a_value_of_an_older_version_is_read_and_put_back_in_todays() {
        // Version 0 is made up: it had no field `created`.
        let record = test_generation(3, Principal::anonymous());
        let old = codec::tests::version_0(&record);
        let read: GenerationRecord = codec::decode(&old);
        assert_eq!(read, record);
        assert_ne!(codec::encode(&read), old);
    }

    #[test]
    fn what_another_engine_made_is_made_again() {
        use crate::state::models::test_model;
        let mut state = State::open();
        let slot = state
            .models
            .add(test_model(1, "m", ModelStage::Ready))
            .unwrap();
        state.models.edit(slot, |m| m.prepared = 99);
        invalidate_stale_artifacts(&mut state);
        assert_eq!(state.models.get(slot).unwrap().stage, ModelStage::Ready);
        state.control.engine += 1;
        invalidate_stale_artifacts(&mut state);
        let model = state.models.get(slot).unwrap();
        assert_eq!((&model.stage, model.prepared), (&ModelStage::Preparing, 0));
    }
}
