//! Slots.

use super::*;
use crate::control::connection::tests::connection;

#[test]
fn slots_that_are_free_are_used_again() {
    let now = clock::now();
    let with = |slot| {
        let mut connection = connection(ikev2::Start::Always, now);
        connection.children[0].slot = SlotId(slot);
        connection
    };
    let mut leaving = with(3);
    let child = Child::new(SlotId(1), None, now, clock::wall());
    let config = leaving.config.children[0].clone();
    leaving.leaving.push(Leaving { config, child, stage: Departure::InUse, ask_at: None });
    let slots: Vec<u32> =
        Slots::beside([&with(0), &leaving].into_iter()).take(3).map(|slot| slot.0).collect();
    assert_eq!(slots, [2, 4, 5]);
}
